import type { DiffQuery, DiffResult, DirectoryList, GrepQuery, GrepResult, ListRange } from '../../contract/inspect.ts';
import type { LayerFile } from '../../erofs/layer-file.ts';
import { WindowCache } from '../../erofs/cache.ts';
import { ReaderPool } from '../../erofs/reader-pool.ts';
import { exportLayout, type ExportRequest } from '../../images/export/oci-layout.ts';
import { diff } from '../../images/inspect/diff.ts';
import { grep } from '../../images/inspect/grep/grep.ts';
import * as view from '../../images/inspect/view.ts';
import { Tree } from '../../layers/tree.ts';
import { type PackedFormat, unpackFile } from '../../tar/packed/unpack-file.ts';

/** Layers that a thread keeps open for its next job, and metadata it keeps of them. */
const LAYERS_KEPT = 64;
const CACHE_BYTES = 8 * 1024 * 1024;

/** The readers of this thread. Its jobs come one after the other and are often about the same images. */
const readers = new ReaderPool(LAYERS_KEPT, new WindowCache(CACHE_BYTES));

/** Image as passed to a thread: its layers, bottom first, which the store keeps until the job has ended. */
export interface ImageLayers {
  readonly uuid: string;
  readonly layers: readonly LayerFile[];
}

/** Jobs of a thread by name, with their input and output, all plain data. */
export interface AnswerJobs {
  list: (job: { image: ImageLayers; path: string; range: ListRange }) => DirectoryList;
  grep: (job: { image: ImageLayers; query: GrepQuery }) => GrepResult;
  diff: (job: { from: ImageLayers; to: ImageLayers; query: Omit<DiffQuery, 'to'> }) => DiffResult;
}

export interface StreamJobs {
  archive: (job: { image: ImageLayers; path: string }) => Uint8Array;
  export: (job: { request: ExportRequest }) => Uint8Array;
  unpack: (job: { path: string; format: PackedFormat }) => Uint8Array;
}

type JobOf<Jobs, Name extends keyof Jobs> = Jobs[Name] extends (job: infer Job) => unknown ? Job : never;
type ResultOf<Jobs, Name extends keyof Jobs> = Jobs[Name] extends (job: never) => infer Result ? Result : never;
type Named<Jobs> = { [Name in keyof Jobs]: { readonly name: Name } & JobOf<Jobs, Name> }[keyof Jobs];

export type AnswerJob = Named<AnswerJobs>;
export type StreamJob = Named<StreamJobs>;
export type JobResult<Job extends AnswerJob> = ResultOf<AnswerJobs, Job['name']>;

/** Runs a job with one answer, in the current thread. */
export async function answer(job: AnswerJob, signal: AbortSignal): Promise<JobResult<AnswerJob>> {
  if (job.name === 'diff') {
    await using from = await Tree.open(job.from.layers, readers);
    await using to = await Tree.open(job.to.layers, readers);
    const sides = [
      { image: job.from.uuid, tree: from },
      { image: job.to.uuid, tree: to },
    ] as const;
    return await diff(...sides, job.query, signal);
  }
  await using tree = await Tree.open(job.image.layers, readers);
  return job.name === 'list'
    ? await view.listDirectory(tree, job.path, job.range)
    : await grep(tree, job.query, signal);
}

/** Runs a job whose result is a stream of bytes. */
export async function* pieces(job: StreamJob, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  if (job.name === 'export') {
    yield* exportLayout(job.request, signal);
    return;
  }
  if (job.name === 'unpack') {
    for await (const piece of unpackFile(job.path, job.format)) {
      signal.throwIfAborted();
      yield piece;
    }
    return;
  }
  await using tree = await Tree.open(job.image.layers, readers);
  for await (const piece of await view.archive(tree, job.path)) {
    signal.throwIfAborted();
    yield piece;
  }
}
