import { z } from 'zod';
import { limits } from './limits.ts';
import { PAGE, anyText } from './api/query.ts';

/** An uploaded file. Runs refer to it by `uuid`; `sha256` (hex) is the digest of its content. */
export const FileResponse = z.object({ uuid: z.string(), sha256: z.string(), size: z.int().min(0) });
export type FileResponse = z.infer<typeof FileResponse>;

export const File = FileResponse.extend({ created_at: z.string(), updated_at: z.string() });
export type File = z.infer<typeof File>;

export const FileQuery = z.object(PAGE);
export type FileQuery = z.infer<typeof FileQuery>;

/** Selects one file instead of a list, by its sha256 or its UUID. */
export const FileNameQuery = z.object({ sha256: anyText().optional(), uuid: anyText().optional() });

/** Answer to a bulk upload, in the order of the files. */
export const BulkUploadResponse = z.object({ files: z.array(FileResponse) });
export const FilesListResponse = z.object({ files: z.array(File) });

/** A synced set of files, as `rsync` sends it (addition to the hosted contract). */
export const DirectoryStateEntry = z.object({
  /** Absolute path in the image. */
  path: z.string(),
  /** Uploaded content; absent for a directory or symlink. */
  sha256: z.string().optional(),
  /** Target, for a symlink. */
  symlink_to: z.string().optional(),
  /** Permission bits. */
  mode: z.int().min(0).max(0o7777),
  uid: z.int().min(0).optional(),
  gid: z.int().min(0).optional(),
  /** Seconds since 1970. */
  mtime: z.int().optional(),
  /** True to remove whatever the image has at the path. */
  removed: z.literal(true).optional(),
});
export type DirectoryStateEntry = z.infer<typeof DirectoryStateEntry>;

export const DirectoryState = z.object({
  id: z.string(),
  entries: z.int().min(0),
  bytes: z.int().min(0),
  created_at: z.string(),
});
export type DirectoryState = z.infer<typeof DirectoryState>;

export const DirectoryStateRequest = z.object({
  entries: z.array(DirectoryStateEntry).max(limits.directoryStateEntriesMax),
});
export type DirectoryStateRequest = z.infer<typeof DirectoryStateRequest>;

/** Answer to a proposed directory state: its id, or the contents that still have to be uploaded. */
export const DirectoryStateResponse = z.object({ state: DirectoryState.optional(), missing: z.array(z.string()) });
export type DirectoryStateResponse = z.infer<typeof DirectoryStateResponse>;
