import { frameFiles } from '../contract/bulk.ts';
import type { ConTree, DoctorReport, GcOptions, GcReport, WhoAmIResponse } from '../contract/contree.ts';
import { fault, isFault } from '../contract/errors.ts';
import type { EventQuery, OperationEvent } from '../contract/event.ts';
import type { DirectoryStateEntry, DirectoryStateOffer, File, FileQuery, FileResponse } from '../contract/file.ts';
import type * as Images from '../contract/image.ts';
import type * as Inspect from '../contract/inspect.ts';
import type { OperationQuery, OperationResponse, OperationSummary } from '../contract/operation.ts';
import type { ClosableStreamRepr, ExecSpec, InstanceResult, InstanceSpawnRequest } from '../contract/run.ts';
import { operationEvents } from './events.ts';
import type { About } from './faults.ts';
import { pushEvents } from './push.ts';
import type { Requester } from './requester.ts';
import { openRemoteFile } from './file-content.ts';
import type { Answer } from './transport.ts';

const SERVER: About = { kind: 'server' };

type Size = { readonly columns: number; readonly rows: number };

/** ConTree over HTTP: our own engine behind its unix socket, another server of ours, or the hosted service. */
export class HttpContree implements ConTree {
  readonly requester: Requester;
  readonly #close: () => Promise<void>;

  /** `close` ends the connections when this is disposed. */
  constructor(requester: Requester, close: () => Promise<void>) {
    this.requester = requester;
    this.#close = close;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#close();
  }

  /** The same server, asked with these headers too. Shares our connections and is not disposed. */
  withHeaders(headers: Readonly<Record<string, string>>): HttpContree {
    return new HttpContree(this.requester.withHeaders(headers), async () => undefined);
  }

  whoami(signal?: AbortSignal): Promise<WhoAmIResponse> {
    return this.requester.json('whoami', { method: 'GET', path: '/whoami' }, SERVER, signal);
  }

  async listImages(query: Images.ImageQuery, signal?: AbortSignal): Promise<Images.Image[]> {
    const request = { method: 'GET', path: '/images', query: { ...query } } as const;
    return (await this.requester.json<{ images: Images.Image[] }>('images', request, SERVER, signal)).images;
  }

  async getImage(image: string, signal?: AbortSignal): Promise<Images.Image> {
    const path = `/inspect/${await this.#resolve(image, signal)}/`;
    return this.requester.json('image', { method: 'GET', path }, { kind: 'image', image }, signal);
  }

  async setTag(image: string, tag: string, signal?: AbortSignal): Promise<Images.Image> {
    const path = `/images/${await this.#resolve(image, signal)}/tag`;
    return this.requester.json('image', { method: 'PATCH', path, json: { tag } }, { kind: 'image', image }, signal);
  }

  async removeTag(image: string, tag?: string, signal?: AbortSignal): Promise<void> {
    const path = `/images/${await this.#resolve(image, signal)}/tag`;
    await this.requester.done({ method: 'DELETE', path, query: { tag } }, { kind: 'image', image }, signal);
  }

  async lineage(image: string, signal?: AbortSignal): Promise<Images.Lineage> {
    const path = `/images/${await this.#resolve(image, signal)}/lineage`;
    return this.requester.json('lineage', { method: 'GET', path }, { kind: 'addition', route: 'lineage' }, signal);
  }

  async deleteImage(
    image: string,
    options: { readonly cascade?: boolean } = {},
    signal?: AbortSignal,
  ): Promise<string[]> {
    // Ours alone, so the server knows tags here; and whether it was named by one makes a difference to it.
    const path = `/images/${encodeURIComponent(image)}`;
    const request = { method: 'DELETE', path, query: { ...options } } as const;
    const about = { kind: 'addition', route: 'image deletion' } as const;
    return (await this.requester.json<{ deleted: string[] }>('deleted', request, about, signal)).deleted;
  }

  importImage(request: Images.ImageImportRequest, signal?: AbortSignal): Promise<{ uuid: string }> {
    return this.requester.json('started', { method: 'POST', path: '/images/import', json: request }, SERVER, signal);
  }

  importArchive(request: Images.ArchiveImportRequest, signal?: AbortSignal): Promise<{ uuid: string }> {
    const about = { kind: 'addition', route: 'archive import' } as const;
    return this.requester.json(
      'started',
      { method: 'POST', path: '/images/import-archive', json: request },
      about,
      signal,
    );
  }

  async exportImage(image: string, signal?: AbortSignal): Promise<AsyncIterable<Uint8Array>> {
    const path = `/images/${await this.#resolve(image, signal)}/export`;
    const about = { kind: 'addition', route: 'export' } as const;
    return this.requester.open({ method: 'GET', path, timeoutMs: 0 }, about, signal);
  }

  async *pushImage(
    image: string,
    request: Images.ImagePushRequest,
    signal?: AbortSignal,
  ): AsyncGenerator<Images.PushEvent> {
    const path = `/images/${await this.#resolve(image, signal)}/push`;
    const about = { kind: 'addition', route: 'push' } as const;
    const answer = await this.requester.open({ method: 'POST', path, json: request, timeoutMs: 0 }, about, signal);
    yield* pushEvents(answer, (value) => this.requester.check('push', value));
  }

  async listDirectory(image: string, path: string, signal?: AbortSignal): Promise<Inspect.DirectoryList> {
    const about = { kind: 'path', path, wanted: 'directory' } as const;
    return this.requester.json('directory', await this.#inspect(image, 'list', { path }, signal), about, signal);
  }

  async stat(image: string, path: string, signal?: AbortSignal): Promise<Inspect.FileItem> {
    const about = { kind: 'path', path, wanted: 'file' } as const;
    const request = await this.#inspect(image, 'stat', { path }, signal);
    try {
      return await this.requester.json<Inspect.FileItem>('item', request, about, signal);
    } catch (error) {
      // The hosted service has no stat; the listing of the parent says the same.
      if (!isFault(error, 'FILE_NOT_FOUND', 'ROUTE_NOT_FOUND') || path === '/') throw error;
      const parent = path.replace(/\/[^/]*\/?$/u, '') || '/';
      const name = path.split('/').findLast(Boolean);
      const { files } = await this.listDirectory(image, parent, signal).catch(() => ({ files: [] }));
      const found = files.find((file) => file.path === name);
      if (found === undefined) throw error;
      return { ...found, path };
    }
  }

  async openFile(
    image: string,
    path: string,
    range: Inspect.ReadRange = {},
    signal?: AbortSignal,
  ): Promise<Inspect.FileContent> {
    const about = { kind: 'path', path, wanted: 'file' } as const;
    const request = await this.#inspect(image, 'download', { path }, signal);
    return openRemoteFile(this.requester, request, { path, range, about }, signal);
  }

  async archive(image: string, path: string, signal?: AbortSignal): Promise<AsyncIterable<Uint8Array>> {
    const about = { kind: 'path', path, wanted: 'directory' } as const;
    return this.requester.open(await this.#inspect(image, 'archive', { path }, signal), about, signal);
  }

  async grep(image: string, query: Inspect.GrepQuery, signal?: AbortSignal): Promise<Inspect.GrepResult> {
    const { patterns: pattern, paths, globs: glob, maxCount: max_count, maxTotal: max_total, ...same } = query;
    const wire = { pattern, path: paths, glob, max_count, max_total, ...same };
    const about = { kind: 'path', path: paths?.[0] ?? '/', wanted: 'file' } as const;
    return this.requester.json('grep', await this.#inspect(image, 'grep', wire, signal), about, signal);
  }

  async diff(
    from: string,
    to: string,
    query: Inspect.DiffQuery = {},
    signal?: AbortSignal,
  ): Promise<Inspect.DiffResult> {
    const wire = { to: await this.#resolve(to, signal), ...query };
    const about = { kind: 'addition', route: 'diff' } as const;
    return this.requester.json('diff', await this.#inspect(from, 'diff', wire, signal), about, signal);
  }

  uploadFile(body: AsyncIterable<Uint8Array>, signal?: AbortSignal): Promise<FileResponse> {
    const request = { method: 'POST', path: '/files', bytes: body, timeoutMs: 0 } as const;
    return this.requester.json('uploaded', request, SERVER, signal);
  }

  async uploadFiles(files: AsyncIterable<Uint8Array>, signal?: AbortSignal): Promise<FileResponse[]> {
    const request = { method: 'POST', path: '/files/bulk', bytes: frameFiles(files), timeoutMs: 0 } as const;
    const about = { kind: 'addition', route: 'bulk uploads' } as const;
    return (await this.requester.json<{ files: FileResponse[] }>('bulk', request, about, signal)).files;
  }

  getFile(id: string, signal?: AbortSignal): Promise<File> {
    const path = `/files/${encodeURIComponent(id)}`;
    return this.requester.json('file', { method: 'GET', path }, { kind: 'upload', file: id }, signal);
  }

  async listFiles(query: FileQuery, signal?: AbortSignal): Promise<File[]> {
    const request = { method: 'GET', path: '/files', query: { ...query } } as const;
    return (await this.requester.json<{ files: File[] }>('files', request, SERVER, signal)).files;
  }

  offerDirectoryState(entries: readonly DirectoryStateEntry[], signal?: AbortSignal): Promise<DirectoryStateOffer> {
    const about = { kind: 'addition', route: 'directory states' } as const;
    return this.requester.json('state', { method: 'POST', path: '/directory-states', lines: entries }, about, signal);
  }

  spawn(request: InstanceSpawnRequest, signal?: AbortSignal): Promise<{ uuid: string }> {
    const about = { kind: 'image', image: request.image } as const;
    return this.requester.json('started', { method: 'POST', path: '/instances', json: request }, about, signal);
  }

  listOperations(query: OperationQuery, signal?: AbortSignal): Promise<OperationSummary[]> {
    return this.requester.json(
      'operations',
      { method: 'GET', path: '/operations', query: { ...query } },
      SERVER,
      signal,
    );
  }

  getOperation(operation: string, signal?: AbortSignal): Promise<OperationResponse> {
    const path = operationPath(operation);
    const request = { method: 'GET', path, query: { inflight: true } } as const;
    return this.requester.json('operation', request, { kind: 'operation', operation }, signal);
  }

  cancelOperation(operation: string, signal?: AbortSignal): Promise<void> {
    return this.requester.done(
      { method: 'DELETE', path: operationPath(operation) },
      { kind: 'operation', operation },
      signal,
    );
  }

  events(operation: string, query: EventQuery, signal?: AbortSignal): AsyncIterable<OperationEvent> {
    return operationEvents(this, operation, query, signal);
  }

  exec(operation: string, spec: ExecSpec, signal?: AbortSignal): Promise<{ spid: number }> {
    const path = `${operationPath(operation)}/subprocesses`;
    return this.requester.json('spid', { method: 'POST', path, json: spec }, { kind: 'operation', operation }, signal);
  }

  getSubprocess(operation: string, spid: number, signal?: AbortSignal): Promise<InstanceResult> {
    const request = { method: 'GET', path: processPath(operation, spid) } as const;
    return this.requester.json('result', request, { kind: 'process', operation, spid }, signal);
  }

  killSubprocess(operation: string, spid: number, signalName?: string, signal?: AbortSignal): Promise<void> {
    const request = { method: 'DELETE', path: processPath(operation, spid), query: { signal: signalName } } as const;
    return this.requester.done(request, { kind: 'process', operation, spid }, signal);
  }

  writeStdin(operation: string, spid: number, input: ClosableStreamRepr, signal?: AbortSignal): Promise<void> {
    const request = { method: 'POST', path: `${processPath(operation, spid)}/stdin`, json: input } as const;
    return this.requester.done(request, { kind: 'process', operation, spid }, signal);
  }

  resizeTerminal(operation: string, spid: number, size: Size, signal?: AbortSignal): Promise<void> {
    const request = { method: 'POST', path: `${processPath(operation, spid)}/resize`, json: size } as const;
    return this.requester.done(request, { kind: 'process', operation, spid }, signal);
  }

  gc({ olderThanDays, maxBytes, dryRun }: GcOptions, signal?: AbortSignal): Promise<GcReport> {
    const json = { older_than_days: olderThanDays, max_bytes: maxBytes, dry_run: dryRun };
    const about = { kind: 'addition', route: 'gc' } as const;
    return this.requester.json('gc', { method: 'POST', path: '/gc', json, timeoutMs: 0 }, about, signal);
  }

  doctor(options: { readonly verify?: boolean }, signal?: AbortSignal): Promise<DoctorReport> {
    const request = { method: 'GET', path: '/doctor', query: { ...options }, timeoutMs: 0 } as const;
    return this.requester.json('doctor', request, { kind: 'addition', route: 'doctor' }, signal);
  }

  async #inspect(
    image: string,
    what: string,
    query: Readonly<Record<string, string | number | boolean | readonly string[] | undefined>>,
    signal?: AbortSignal,
  ): Promise<{ method: 'GET'; path: string; query: typeof query }> {
    return { method: 'GET', path: `/inspect/${await this.#resolve(image, signal)}/${what}`, query };
  }

  /** The path segment of an image. The contract's routes take UUIDs; a tag is looked up by the redirect it gets. */
  async #resolve(image: string, signal?: AbortSignal): Promise<string> {
    if (!image.startsWith('tag:')) return encodeURIComponent(image);
    const request = { method: 'GET', path: '/inspect/', query: { tag: image.slice(4) } } as const;
    const answer = await this.requester.open(request, { kind: 'image', image }, signal);
    answer.resume();
    const uuid = locationOf(answer);
    if (uuid === undefined) throw fault('REMOTE_FAILED', { status: 302, reason: 'a tag lookup without a location' });
    return uuid;
  }
}

function locationOf(answer: Answer): string | undefined {
  return answer.headers.location?.split('?')[0]?.split('/').findLast(Boolean);
}

function operationPath(operation: string): string {
  return `/operations/${encodeURIComponent(operation)}`;
}

function processPath(operation: string, spid: number): string {
  return `${operationPath(operation)}/subprocesses/${spid}`;
}
