import { z } from 'zod';

const count = z.int().min(0);

export const FileItem = z.object({
  size: count,
  /** Name relative to the listed directory. */
  path: z.string(),
  owner: z.union([z.string(), z.int()]),
  group: z.union([z.string(), z.int()]),
  uid: count,
  gid: count,
  /** `st_mode` with type bits. */
  mode: count,
  /** Seconds since 1970. */
  mtime: z.int(),
  nlink: count,
  is_dir: z.boolean(),
  is_regular: z.boolean(),
  is_symlink: z.boolean(),
  is_socket: z.boolean(),
  is_fifo: z.boolean(),
  symlink_to: z.string(),
});
export type FileItem = z.infer<typeof FileItem>;

export const DirectoryList = z.object({ path: z.string(), files: z.array(FileItem) });
export type DirectoryList = z.infer<typeof DirectoryList>;

export interface ReadRange {
  readonly offset?: number;
  /** Bytes at most. */
  readonly length?: number;
}

/** A regular file opened for reading inside an image. `size` is of the whole file. */
export interface FileContent {
  readonly path: string;
  readonly size: number;
  readonly body: AsyncIterable<Uint8Array>;
}

export interface GrepQuery {
  readonly patterns: readonly string[];
  /** Default: the whole image. */
  readonly paths?: readonly string[];
  /** `rg -g` semantics; a leading `!` negates. */
  readonly globs?: readonly string[];
  readonly maxCount?: number;
  readonly maxTotal?: number;
  readonly case?: 'sensitive' | 'insensitive' | 'smart';
  readonly before?: number;
  readonly after?: number;
}

export const GrepSubmatch = z.object({ text: z.string(), start: count, end: count });

export const GrepMatch = z.object({
  path: z.string(),
  line_number: count,
  absolute_offset: count,
  line_text: z.string(),
  line_bytes: count,
  submatches: z.array(GrepSubmatch),
  type: z.enum(['match', 'context']),
});
export type GrepMatch = z.infer<typeof GrepMatch>;

export const GrepResult = z.object({
  path: z.string(),
  patterns: z.array(z.string()),
  matches: z.array(GrepMatch),
  truncated: z.boolean(),
});
export type GrepResult = z.infer<typeof GrepResult>;

export const DiffEntry = z.object({
  path: z.string(),
  change: z.enum(['added', 'removed', 'modified', 'metadata']),
  type: z.enum(['file', 'directory', 'symlink', 'device', 'fifo', 'socket']),
  size: count.nullable().describe('bytes in the second image; null when removed'),
  size_before: count.nullable().describe('bytes in the first image; null when added'),
  mode: count.nullable(),
  mode_before: count.nullable(),
  owner: z.string().nullable().optional().describe('uid:gid in the second image'),
  owner_before: z.string().nullable().optional(),
  /** Unified diff of a small text file, when asked for. */
  patch: z.string().optional(),
});
export type DiffEntry = z.infer<typeof DiffEntry>;

export const DiffResult = z.object({
  from: z.string(),
  to: z.string(),
  entries: z.array(DiffEntry),
  added: count,
  removed: count,
  modified: count,
  truncated: z.boolean(),
});
export type DiffResult = z.infer<typeof DiffResult>;

export interface DiffQuery {
  /** Only below this path. */
  readonly path?: string;
  readonly patch?: boolean;
  readonly limit?: number;
}
