import { z } from 'zod';
import type { EventQuery, OperationEvent } from './event.ts';
import type { DirectoryStateEntry, DirectoryStateOffer, File, FileQuery, FileResponse } from './file.ts';
import type {
  ArchiveImportRequest,
  Image,
  ImageImportRequest,
  ImagePushRequest,
  ImageQuery,
  Lineage,
  PushEvent,
} from './image.ts';
import type {
  DiffQuery,
  DiffResult,
  DirectoryList,
  FileContent,
  FileItem,
  GrepQuery,
  GrepResult,
  ReadRange,
} from './inspect.ts';
import type { OperationQuery, OperationResponse, OperationSummary } from './operation.ts';
import type { ClosableStreamRepr, ExecSpec, InstanceResult, InstanceSpawnRequest } from './run.ts';

export const WhoAmIResponse = z.object({
  token_uuid: z.string(),
  token_expiration: z.int().nullable(),
  permissions: z.record(z.string(), z.boolean()),
  limits: z.record(z.string(), z.int()),
  operations_stat: z.record(z.string(), z.int()),
  /** Where the token works (addition to the hosted contract). */
  project: z.string().optional(),
});
export type WhoAmIResponse = z.infer<typeof WhoAmIResponse>;

export const GcReport = z.object({
  images: z.int(),
  layers: z.int(),
  files: z.int(),
  events: z.int(),
  freed_bytes: z.int(),
  /** What still uses space, largest first. */
  usage: z.array(z.object({ what: z.string(), bytes: z.int() })),
});
export type GcReport = z.infer<typeof GcReport>;

/** One thing that `doctor` looked at. */
export const DoctorCheck = z.object({
  name: z.string(),
  status: z.enum(['ok', 'warning', 'failed']),
  detail: z.string(),
  remedy: z.string().optional(),
});
export type DoctorCheck = z.infer<typeof DoctorCheck>;

export const DoctorReport = z.object({ version: z.string(), checks: z.array(DoctorCheck) });
export type DoctorReport = z.infer<typeof DoctorReport>;

export interface GcOptions {
  /** Uploads and event logs unused for this many days are dropped. */
  readonly olderThanDays?: number;
  /** Also drop ever younger uploads and logs, and untagged images that nothing depends on, until the store fits. */
  readonly maxBytes?: number;
  readonly dryRun?: boolean;
}

/**
 * The whole product as one interface. It has exactly two implementations: the engine, and a client that reaches an
 * engine over HTTP; the CLI, the MCP server and the REST routes know nothing else.
 *
 * Wherever an argument is called `image` it is a UUID or `tag:NAME`; `path` is absolute inside the image.
 * Every method throws faults (`errors.ts`) only. `signal` ends the waiting, never the operation waited for.
 */
export interface ConTree extends AsyncDisposable {
  whoami(signal?: AbortSignal): Promise<WhoAmIResponse>;

  /** Newest first; with `tag`, an exact match comes first. */
  listImages(query: ImageQuery, signal?: AbortSignal): Promise<Image[]>;
  getImage(image: string, signal?: AbortSignal): Promise<Image>;
  /** Points the tag at the image, wherever it pointed before. Earlier tags of the image stay. */
  setTag(image: string, tag: string, signal?: AbortSignal): Promise<Image>;
  /** Without `tag` removes the one that `Image.tag` shows. */
  removeTag(image: string, tag?: string, signal?: AbortSignal): Promise<void>;
  lineage(image: string, signal?: AbortSignal): Promise<Lineage>;
  /** Refuses an image that others depend on, and by a tag one that has more tags, unless `cascade`. Returns the UUIDs that are gone. */
  deleteImage(image: string, options?: { readonly cascade?: boolean }, signal?: AbortSignal): Promise<string[]>;
  /** Starts an import; follow the operation to its end. */
  importImage(request: ImageImportRequest, signal?: AbortSignal): Promise<{ uuid: string }>;
  importArchive(request: ArchiveImportRequest, signal?: AbortSignal): Promise<{ uuid: string }>;
  /** The image as an OCI layout, in a tar stream. */
  exportImage(image: string, signal?: AbortSignal): Promise<AsyncIterable<Uint8Array>>;

  /**
   * Pushes the image to a registry while the events are read; whoever stops reading stops the push. It is no operation:
   * clients of the hosted contract know two kinds of those and refuse a list with a third.
   */
  pushImage(image: string, request: ImagePushRequest, signal?: AbortSignal): AsyncIterable<PushEvent>;

  /** Inspection reads layers directly; it never starts a VM. */
  listDirectory(image: string, path: string, signal?: AbortSignal): Promise<DirectoryList>;
  /** What is at a path; `path` of the item is the path that was asked for. Symlinks are not followed at the end. */
  stat(image: string, path: string, signal?: AbortSignal): Promise<FileItem>;
  openFile(image: string, path: string, range?: ReadRange, signal?: AbortSignal): Promise<FileContent>;
  /** POSIX PAX tar of the subtree; member names relative to the image root. */
  archive(image: string, path: string, signal?: AbortSignal): Promise<AsyncIterable<Uint8Array>>;
  grep(image: string, query: GrepQuery, signal?: AbortSignal): Promise<GrepResult>;
  diff(from: string, to: string, query?: DiffQuery, signal?: AbortSignal): Promise<DiffResult>;

  uploadFile(body: AsyncIterable<Uint8Array>, signal?: AbortSignal): Promise<FileResponse>;
  /**
   * Uploads small files at once: each chunk of `files` is a whole file of at most `limits.bulkFileBytesMax`, and there
   * are at most `limits.bulkFilesMax`. Answers in their order.
   */
  uploadFiles(files: AsyncIterable<Uint8Array>, signal?: AbortSignal): Promise<FileResponse[]>;
  /** By sha256 (hex) or uuid. */
  getFile(id: string, signal?: AbortSignal): Promise<File>;
  listFiles(query: FileQuery, signal?: AbortSignal): Promise<File[]>;
  /** Makes a directory state if every content it names is uploaded, else says which are missing. */
  offerDirectoryState(entries: readonly DirectoryStateEntry[], signal?: AbortSignal): Promise<DirectoryStateOffer>;

  /** Queues a run; `uuid` is the operation's. */
  spawn(request: InstanceSpawnRequest, signal?: AbortSignal): Promise<{ uuid: string }>;
  listOperations(query: OperationQuery, signal?: AbortSignal): Promise<OperationSummary[]>;
  getOperation(operation: string, signal?: AbortSignal): Promise<OperationResponse>;
  cancelOperation(operation: string, signal?: AbortSignal): Promise<void>;
  /** The operation's log from `since`; with `follow` it ends after the `completion` event. */
  events(operation: string, query: EventQuery, signal?: AbortSignal): AsyncIterable<OperationEvent>;
  exec(operation: string, spec: ExecSpec, signal?: AbortSignal): Promise<{ spid: number }>;
  getSubprocess(operation: string, spid: number, signal?: AbortSignal): Promise<InstanceResult>;
  /** `signalName` without SIG, for example TERM. Reaches the whole process group. */
  killSubprocess(operation: string, spid: number, signalName?: string, signal?: AbortSignal): Promise<void>;
  writeStdin(operation: string, spid: number, input: ClosableStreamRepr, signal?: AbortSignal): Promise<void>;
  resizeTerminal(
    operation: string,
    spid: number,
    size: { readonly columns: number; readonly rows: number },
    signal?: AbortSignal,
  ): Promise<void>;

  gc(options: GcOptions, signal?: AbortSignal): Promise<GcReport>;
  doctor(options: { readonly verify?: boolean }, signal?: AbortSignal): Promise<DoctorReport>;
}
