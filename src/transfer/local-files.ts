import type { ConTree } from '../contract/contree.ts';

/** Local side of `rsync`, `upload` and `download`, confined to the folders that the user allowed. */
export interface LocalFiles {
  sync(contree: ConTree, request: SyncRequest, options: TransferOptions): Promise<SyncReport>;
  upload(contree: ConTree, path: string, options: TransferOptions): Promise<UploadReport>;
  download(contree: ConTree, request: DownloadRequest, options: TransferOptions): Promise<DownloadReport>;
}

export interface TransferOptions {
  readonly signal: AbortSignal;
  readonly onProgress?: (step: { readonly done: number; readonly total?: number; readonly what: string }) => void;
}

export interface SyncRequest {
  readonly source: string;
  readonly destination: string;
  /** Ignore rules in gitignore's syntax. */
  readonly exclude: readonly string[];
  /** False to bring what git ignores (default: true, it is left out). */
  readonly gitignore?: boolean | undefined;
  /** True to bring `.git` directories. */
  readonly git?: boolean | undefined;
  /** Further rules, those of a build: what they leave out is not sent. */
  readonly filter?: SyncFilter | undefined;
  /** True to bring what looks like a secret (default: it is skipped). */
  readonly secrets?: boolean | undefined;
  /** True to bring the set-user-ID, set-group-ID and sticky bits (default: only the permissions of owner, group and others). */
  readonly wholeModes?: boolean | undefined;
  /** Image of which everything at the destination is removed that the source lacks; not what was left out there. */
  readonly mirror?: string | undefined;
  /** Manifest of an earlier sync: only what differs from it is in the directory state. */
  readonly since?: Manifest | undefined;
}

/** Rules that leave paths out, and may take in some below them again. Paths are relative to the source. */
export interface SyncFilter {
  ignores(path: string): boolean;
  /** Reports whether nothing below an ignored directory is taken in. */
  ignoresAllBelow(path: string): boolean;
}

/** Entries of a folder by their path below it, each with a text that differs when the entry does. */
export type Manifest = Readonly<Record<string, string>>;

export interface SyncReport {
  /** Id of the directory state; empty when nothing differs from the manifest of the request. */
  readonly directoryState: string;
  readonly files: number;
  readonly uploaded: number;
  readonly reused: number;
  readonly bytes: number;
  /** Skipped files with the reason, for example `.env (looks like a secret)`. */
  readonly skipped: readonly string[];
  /** Files that the ignore rules left out; undefined when there were none. */
  readonly leftOut: LeftOut | undefined;
  /** Number of files and directories that a mirror removes. */
  readonly removed: number;
  /** The folder as it is now, where the request has a manifest. */
  readonly manifest?: Manifest;
  /** Reports whether the rules leave out a path below the folder, where the request has a manifest. */
  readonly leavesOut?: (path: string) => boolean;
}

export interface LeftOut {
  readonly files: number;
  /** Number of files of the source, with these. */
  readonly of: number;
  /** Places with the most of them; directories end with a slash. */
  readonly places: readonly string[];
  /** Number of further places. */
  readonly more: number;
}

export interface UploadReport {
  readonly uuid: string;
  readonly sha256: string;
  readonly size: number;
  readonly reused: boolean;
}

export interface DownloadRequest {
  readonly image: string;
  readonly path: string;
  readonly destination: string;
  readonly executable: boolean;
  readonly overwrite: boolean;
}

/** Symlink to make in place of what is at its path, except a directory. */
export interface LinkRequest {
  readonly path: string;
  readonly target: string;
}

export interface DownloadReport {
  readonly destination: string;
  readonly size: number;
  readonly sha256: string;
  readonly overwritten: boolean;
}
