import { fault } from '../../../contract/errors.ts';
import { limits } from '../../../contract/limits.ts';
import type { GrepMatch, GrepQuery, GrepResult } from '../../../contract/inspect.ts';
import type { Tree, TreeNode } from '../../../layers/tree.ts';
import { defined } from '../../../std/assert.ts';
import type { ByteString } from '../../../std/bytes.ts';
import { textFromPath } from '../../../std/path-text.ts';
import {
  stretchBatches,
  BulkReader,
  type StretchContent,
  contiguous,
  readAhead,
  STRETCH_BYTES,
  type Stretch,
} from '../bulk-reader.ts';
import { globFilter, type GlobFilter } from './glob.ts';
import { FileSearcher, type FileSearch } from './file.ts';
import { compilePatterns } from './pattern.ts';
import { resolve } from '../view.ts';

/** Limit of the bytes in one result. */
const RESULT_BYTES_MAX = 8 * 1024 * 1024;

interface Target extends Stretch {
  /** Path as reported: below the requested path. */
  readonly path: string;
  readonly node: TreeNode;
  /** Offset: files are searched from their beginning. */
  readonly offset: 0;
}

/**
 * Searches an image as ripgrep would: every text file below the paths, hidden ones included, symlinks not followed,
 * ignore files ignored, in byte order of paths. Faults: PATTERN_INVALID, and those of `Tree.resolve` for a missing
 * path. Ends with `truncated` at `max_total` matching lines, after `limits.grepSecondsMax`, or when the result grows
 * too large.
 */
export async function grep(tree: Tree, query: GrepQuery, signal?: AbortSignal): Promise<GrepResult> {
  const { pattern: patterns, path: paths = [], glob = [] } = query;
  const { max_total: maxTotal = limits.grepMatchesDefault, max_count: maxCount = Infinity } = query;
  const deadlineMs = performance.now() + limits.grepSecondsMax * 1_000;
  const pattern = compilePatterns(patterns, query.case);
  const filter = globFilter(glob);
  const starts = await Promise.all((paths.length === 0 ? ['/'] : paths).map((path) => startOf(tree, path)));
  const context = { before: contextOf(query.before), after: contextOf(query.after) };
  const matches: GrepMatch[] = [];
  let total = 0;
  let bytes = 0;
  let truncated = false;
  const scratch = Buffer.allocUnsafeSlow(STRETCH_BYTES);
  await using reader = new BulkReader();
  const read = async (targets: readonly Target[]): Promise<readonly (readonly [Target, StretchContent])[]> => {
    const heads = await reader.read(targets);
    return targets.map((target, index) => [target, defined(heads[index], 'every file was read')]);
  };
  for await (const batch of readAhead(stretchBatches(targetsOf(tree, starts, filter)), read)) {
    for (const [target, head] of batch) {
      signal?.throwIfAborted();
      const search = { pattern, countMax: Math.min(maxCount, maxTotal - total), ...context };
      const searcher = await searchFile(tree, target, contiguous(head, scratch), search);
      matches.push(...searcher.found);
      total += searcher.count;
      for (const match of searcher.found) bytes += bytesOf(match);
      truncated = total >= maxTotal || bytes > RESULT_BYTES_MAX || performance.now() > deadlineMs;
      if (truncated) break;
    }
    if (truncated) break;
  }
  return { path: paths[0] ?? '/', patterns: [...patterns], matches, truncated };
}

/** About what a match takes in an answer. */
function bytesOf({ path, line_text: line, submatches }: GrepMatch): number {
  return submatches.reduce((sum, { text }) => sum + 50 + text.length, 150 + path.length + line.length);
}

function contextOf(lines = 0): number {
  if (!Number.isInteger(lines) || lines < 0 || lines > limits.grepContextLinesMax) {
    throw fault('ARGUMENT_INVALID', { reason: `lines of context must be 0 to ${limits.grepContextLinesMax}` });
  }
  return lines;
}

/** Returns the target of a requested path; like an argument of ripgrep it is followed if it is a symlink. */
async function startOf(tree: Tree, path: string): Promise<Target> {
  return { path: `/${path.split('/').filter(Boolean).join('/')}`, node: await resolve(tree, path), offset: 0 };
}

/** Yields regular files with content. A file that was named explicitly is searched whatever the globs are. */
async function* targetsOf(tree: Tree, starts: readonly Target[], filter: GlobFilter): AsyncGenerator<Target> {
  for (const start of starts) {
    if (start.node.type === 'file') yield start;
    if (start.node.type !== 'directory') continue;
    const prefix = start.path === '/' ? '/' : `${start.path}/`;
    const enters = (path: ByteString): boolean => filter.entersDirectory((prefix + textFromPath(path)).slice(1));
    for await (const { path, node } of tree.walk(start.node, enters)) {
      if (node.type !== 'file' || node.size === 0) continue;
      const full = prefix + textFromPath(path);
      if (filter.acceptsFile(full.slice(1))) yield { path: full, node, offset: 0 };
    }
  }
}

async function searchFile(tree: Tree, { path, node }: Target, head: Buffer, search: FileSearch): Promise<FileSearcher> {
  const searcher = new FileSearcher(path, search);
  if (node.size <= head.length) {
    searcher.push(head, { isLast: true });
    return searcher;
  }
  let carried: Buffer = Buffer.alloc(0);
  for (let offset = 0; offset < node.size && !searcher.finished;) {
    const next = offset === 0 ? head : await tree.read(node, offset, STRETCH_BYTES);
    offset += next.length;
    const isLast = offset >= node.size;
    const bytes = carried.length === 0 ? next : Buffer.concat([carried, next]);
    const end = isLast ? bytes.length : endOfLines(bytes);
    searcher.push(bytes.subarray(0, end), { isLast });
    carried = bytes.subarray(end);
  }
  return searcher;
}

/** Returns the end of the last whole line; a line that is too long is cut. */
function endOfLines(bytes: Buffer): number {
  const feed = bytes.lastIndexOf(0x0a);
  if (feed >= 0) return feed + 1;
  return bytes.length > 4 * STRETCH_BYTES ? bytes.length : 0;
}
