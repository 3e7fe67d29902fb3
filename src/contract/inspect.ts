import { z } from 'zod';
import { limits } from './limits.ts';
import { choice, flag, integer, requiredText, anyText, texts } from './api/query.ts';

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

export const DirectoryList = z.object({
  path: z.string(),
  files: z.array(FileItem),
  /** Number of all entries of the directory, in an answer with a part of them. */
  total: count.optional(),
});
export type DirectoryList = z.infer<typeof DirectoryList>;

export const PathQuery = z.object({
  /** Absolute path in the image. */
  path: requiredText(),
});
export type PathQuery = z.infer<typeof PathQuery>;

export const ListQuery = z.object({
  path: requiredText(),
  /** Maximum number of entries; with it or `offset` the answer has a part of the directory, and is never too large. */
  limit: integer(1, limits.entriesListedMax).optional(),
  offset: integer(0, Number.MAX_SAFE_INTEGER).optional(),
});
export type ListQuery = z.infer<typeof ListQuery>;

/** Part of a listing; without fields, all of it. */
export type ListRange = Omit<ListQuery, 'path'>;

/** Query that asks for text: of a listing the format of `ls -l`, of a file its bytes as `text/plain`. */
export const TextQuery = z.object({ text: flag().optional() });

const bytes = integer(0, Number.MAX_SAFE_INTEGER);

export const ReadQuery = z.object({
  path: requiredText(),
  offset: bytes.optional(),
  /** Maximum number of bytes. */
  length: bytes.optional(),
});
export type ReadQuery = z.infer<typeof ReadQuery>;

/** Part of a file; without fields, all of it. */
export type ReadRange = Omit<ReadQuery, 'path'>;

/** A regular file opened for reading inside an image. `size` is of the whole file. */
export interface FileContent {
  readonly path: string;
  readonly size: number;
  readonly body: AsyncIterable<Uint8Array>;
}

export const GrepQuery = z.object({
  pattern: texts(limits.grepPatternsMax, limits.grepPatternCharactersMax),
  /** Default: the whole image. */
  path: texts(limits.grepPathsMax).optional(),
  /** `rg -g` semantics; a leading `!` negates. */
  glob: texts().optional(),
  /** Maximum number of matches per file. */
  max_count: integer(1, limits.grepMatchesMax).optional(),
  /** Maximum number of matches in total. */
  max_total: integer(1, limits.grepMatchesMax).optional(),
  case: choice('sensitive', 'insensitive', 'smart').optional(),
  before: integer(0, limits.grepContextLinesMax).optional(),
  after: integer(0, limits.grepContextLinesMax).optional(),
});
export type GrepQuery = z.infer<typeof GrepQuery>;

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
  /** The first path that was searched; each match names its own file. */
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
  /** Unified diff of a small text file, if requested. */
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

export const DiffQuery = z.object({
  /** The other image. */
  to: requiredText(limits.tagBytesMax + 4),
  /** Only below this path. */
  path: anyText().optional(),
  patch: flag().optional(),
  limit: integer(1, 1_000_000).optional(),
});
export type DiffQuery = z.infer<typeof DiffQuery>;
