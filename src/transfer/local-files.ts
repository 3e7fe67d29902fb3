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
}

export interface SyncReport {
  readonly directoryState: string;
  readonly files: number;
  readonly uploaded: number;
  readonly reused: number;
  readonly bytes: number;
  /** Skipped files with the reason, for example `.env (looks like a secret)`. */
  readonly skipped: readonly string[];
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

export interface DownloadReport {
  readonly destination: string;
  readonly size: number;
  readonly sha256: string;
  readonly overwritten: boolean;
}
