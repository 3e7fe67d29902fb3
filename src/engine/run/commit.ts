import { buildLayer } from '../../layers/build-layer.ts';
import type { LayerSummary } from '../../layers/layer-builder.ts';
import { Tree } from '../../layers/tree.ts';
import { changesAnything } from '../../layers/changes-anything.ts';
import { fault, isFault } from '../../contract/errors.ts';
import type { LayerFile } from '../../erofs/layer-file.ts';
import type { ReaderPool } from '../../erofs/reader-pool.ts';
import type { Layer } from '../../store/layers.ts';
import type { ProjectStore } from '../../store/project-store.ts';
import { readHead, withHead } from '../../std/streams.ts';

export interface CommitPlace {
  readonly store: ProjectStore;
  readonly readers: ReaderPool;
  /** Layers that the changes are over, bottom first. */
  readonly lower: readonly LayerFile[];
  /** Maximum size of the new layer in bytes. */
  readonly bytesMax: number;
  /** Writes the layer to keep, at `target`, from that of all changes; by default all are kept. */
  readonly keep?: (changes: LayerFile, target: string) => Promise<LayerSummary>;
}

/**
 * Stores the changes of an instance, as the driver streams them, as a layer; undefined when there are none. Rejects with
 * LAYER_BYTES_EXCEEDED, LAYER_MALFORMED, GUEST_LOST or DISK_FULL, and then leaves nothing behind.
 */
export async function commitChanges(
  streamed: AsyncIterable<Uint8Array>,
  place: CommitPlace,
  signal: AbortSignal,
): Promise<Layer | undefined> {
  const chunks = streamed[Symbol.asyncIterator]();
  try {
    const head = await readHead(chunks, 1);
    return head.ended ? undefined : await stored(withHead(head, chunks), place, signal);
  } finally {
    // Whatever went wrong before it was read: a guest that goes on must not wait for its reader.
    await chunks.return?.();
  }
}

async function stored(
  changes: AsyncIterable<Uint8Array>,
  { store, readers, lower, bytesMax, keep }: CommitPlace,
  signal: AbortSignal,
): Promise<Layer | undefined> {
  await using tree = await Tree.open(lower, readers);
  await using staged = store.layers.stage();
  const built = await buildLayer(changes, staged.path, { lower: tree, marks: 'overlay', bytesMax, signal }).catch(
    (error: unknown) => {
      if (!isFault(error, 'LAYER_LIMIT')) throw error;
      throw fault('LAYER_BYTES_EXCEEDED', { limit: bytesMax }, { cause: error });
    },
  );
  const changed = { path: staged.path, bytes: built.bytes };
  if (!(await changesAnything(changed, tree))) return undefined;
  if (keep === undefined) return await store.layers.publish(staged, built);
  await using kept = store.layers.stage();
  const summary = await keep(changed, kept.path);
  if (!(await changesAnything({ path: kept.path, bytes: summary.bytes }, tree))) return undefined;
  return await store.layers.publish(kept, summary);
}
