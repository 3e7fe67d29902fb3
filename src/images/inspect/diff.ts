import { fault, isFault } from '../../contract/errors.ts';
import { limits } from '../../contract/limits.ts';
import type { DiffEntry, DiffQuery, DiffResult } from '../../contract/inspect.ts';
import { LoopGuard } from '../../layers/loop-guard.ts';
import type { Tree, TreeEntry, TreeNode } from '../../layers/tree.ts';
import { Pace } from '../../std/event-loop.ts';
import { textFromPath } from '../../std/path-text.ts';
import { BulkReader } from './bulk-reader.ts';
import { unifiedPatch } from './patch.ts';
import { differing, type SideReaders } from './same-content.ts';
import { resolve } from './view.ts';

/** Pairs collected before they are read together: enough for long reads, few enough for memory. */
const FILES_AT_ONCE = 2_000;
const PAIRS_AT_ONCE = 20_000;
/** Limits of the size of a file with a patch, and of the patches in one result. */
const PATCH_FILE_BYTES_MAX = 128 * 1024;
const PATCH_TOTAL_CHARACTERS_MAX = 1024 * 1024;

export interface DiffSide {
  /** UUID, for the result. */
  readonly image: string;
  readonly tree: Tree;
}

/**
 * Returns the differences between two images, in byte order of paths: entries that were added or removed (including
 * every path below), entries whose content or type is `modified`, and entries whose `metadata` only (mode, owner,
 * xattrs, or a file's time) differs. Shared parts are skipped: equal keys mean equal content. Counts cover everything;
 * `entries` has the first `limit`, and no more than a listing.
 */
export async function diff(
  from: DiffSide,
  to: DiffSide,
  query: Omit<DiffQuery, 'to'> = {},
  signal?: AbortSignal,
): Promise<DiffResult> {
  const { path = '/', patch = false } = query;
  const limit = Math.min(query.limit ?? limits.pageMax, limits.entriesListedMax);
  const [before, after] = await Promise.all([find(from.tree, path), find(to.tree, path)]);
  if (before === undefined && after === undefined) throw fault('FILE_NOT_FOUND', { path });
  await using older = new BulkReader();
  await using newer = new BulkReader();
  const comparison = new Comparison(from.tree, to.tree, { limit, patch, signal, readers: [older, newer] });
  const start = `/${path.split('/').filter(Boolean).join('/')}`;
  await comparison.compare(start === '/' ? '' : start, before, after);
  const { entries, counts } = comparison;
  const total = counts.added + counts.removed + counts.modified;
  return { from: from.image, to: to.image, entries, ...counts, truncated: total > entries.length };
}

async function find(tree: Tree, path: string): Promise<TreeNode | undefined> {
  try {
    return await resolve(tree, path);
  } catch (error) {
    if (isFault(error, 'FILE_NOT_FOUND', 'NOT_A_DIRECTORY')) return undefined;
    throw error;
  }
}

interface ComparisonOptions {
  readonly limit: number;
  readonly patch: boolean;
  readonly signal: AbortSignal | undefined;
  readonly readers: SideReaders;
}

/** Nodes at a path in both images. */
interface PendingPair {
  readonly path: string;
  readonly before: TreeNode | undefined;
  readonly after: TreeNode | undefined;
}

type FilePair = PendingPair & { readonly before: TreeNode; readonly after: TreeNode };

/** Reports whether two files must be read to compare them. */
function isReadable(before: TreeNode | undefined, after: TreeNode | undefined): boolean {
  return before?.type === 'file' && after?.type === 'file' && before.size === after.size && before.size > 0;
}

function isInBoth(pair: PendingPair): pair is FilePair {
  return pair.before !== undefined && pair.after !== undefined;
}

/** Reports whether both are known to be equal without reading more of them: nearly all that has been read is. */
function isEqual({ before, after }: FilePair, bytesDiffer: boolean): boolean {
  if (before.type !== after.type || before.mayHaveXattrs || after.mayHaveXattrs) return false;
  if (bytesDiffer || attributesDiffer(before, after)) return false;
  return before.type === 'directory' || (before.type === 'file' && before.size === after.size);
}

/** Reports whether both images have the same node there, including everything below. */
function isShared(before: TreeNode | undefined, after: TreeNode | undefined): boolean {
  return before === undefined ? after === undefined : after !== undefined && before.is(after);
}

function attributesDiffer(before: TreeNode, after: TreeNode): boolean {
  if (before.mode !== after.mode || before.uid !== after.uid || before.gid !== after.gid) return true;
  // The time of a directory changes with every entry, and that of a symlink is meaningless.
  if (before.type !== 'file') return false;
  return before.mtimeSeconds !== after.mtimeSeconds || before.mtimeNanoseconds !== after.mtimeNanoseconds;
}

class Comparison {
  readonly entries: DiffEntry[] = [];
  /** `modified` counts changes of metadata too. */
  readonly counts = { added: 0, removed: 0, modified: 0 };
  readonly #from: Tree;
  readonly #to: Tree;
  readonly #options: ComparisonOptions;
  readonly #fromGuard = new LoopGuard();
  readonly #toGuard = new LoopGuard();
  readonly #pace = new Pace();
  #patchCharacters = 0;
  /** Pairs found but not yet recorded, in order of paths, because files are read in batches. */
  #pending: PendingPair[] = [];
  #pendingFiles = 0;

  constructor(from: Tree, to: Tree, options: ComparisonOptions) {
    this.#from = from;
    this.#to = to;
    this.#options = options;
  }

  /** Compares a path in both images and everything below; `path` is empty for the root. */
  async compare(path: string, before: TreeNode | undefined, after: TreeNode | undefined): Promise<void> {
    if (isShared(before, after)) return;
    this.#pending.push({ path, before, after });
    await this.#descend(path, before, after);
    await this.#settle();
  }

  async #descend(path: string, before: TreeNode | undefined, after: TreeNode | undefined): Promise<void> {
    this.#options.signal?.throwIfAborted();
    const children = [
      childrenOf(this.#from, before, path, this.#fromGuard),
      childrenOf(this.#to, after, path, this.#toGuard),
    ] as const;
    for await (const pairs of paired(...children)) {
      for (const [name, left, right] of pairs) {
        if (isShared(left, right)) continue;
        const below = `${path}/${textFromPath(name)}`;
        this.#pending.push({ path: below, before: left, after: right });
        if (isReadable(left, right)) this.#pendingFiles += 1;
        if (this.#pendingFiles >= FILES_AT_ONCE || this.#pending.length >= PAIRS_AT_ONCE) await this.#settle();
        if (left?.type === 'directory' || right?.type === 'directory') await this.#descend(below, left, right);
      }
    }
  }

  /** Reads the files among the pending pairs and records differences. */
  async #settle(): Promise<void> {
    const pairs = this.#pending;
    [this.#pending, this.#pendingFiles] = [[], 0];
    const files = pairs.filter((pair): pair is FilePair => isReadable(pair.before, pair.after));
    const different = await differing(files, this.#options.readers, this.#options.signal);
    for (const pair of pairs) {
      this.#options.signal?.throwIfAborted();
      if (this.#pace.due()) await this.#pace.rest();
      const bytesDiffer = different.has(pair as FilePair);
      if (isInBoth(pair) && isEqual(pair, bytesDiffer)) continue;
      if (isInBoth(pair)) await this.#change(pair, bytesDiffer);
      else this.#record({ ...pair, change: pair.after ? 'added' : 'removed' });
    }
  }

  /** Records a change; `bytesDiffer` is known for files of the same size. */
  async #change({ path, before, after }: FilePair, bytesDiffer: boolean): Promise<void> {
    if (before.type !== after.type || (await this.#contentDiffers(before, after, bytesDiffer))) {
      const patch = await this.#patchOf(path, before, after);
      this.#record({ path, change: 'modified', before, after, ...(patch !== undefined && { patch }) });
    } else if (await this.#metadataDiffers(before, after)) {
      this.#record({ path, change: 'metadata', before, after });
    }
  }

  async #contentDiffers(before: TreeNode, after: TreeNode, bytesDiffer: boolean): Promise<boolean> {
    switch (before.type) {
      case 'file':
        return before.size !== after.size || bytesDiffer;
      case 'symlink':
        return (await this.#from.readlink(before)) !== (await this.#to.readlink(after));
      case 'character':
      case 'block':
        return before.major !== after.major || before.minor !== after.minor;
      default:
        return false;
    }
  }

  async #metadataDiffers(before: TreeNode, after: TreeNode): Promise<boolean> {
    if (attributesDiffer(before, after)) return true;
    if (!before.mayHaveXattrs && !after.mayHaveXattrs) return false;
    const [left, right] = await Promise.all([this.#from.xattrs(before), this.#to.xattrs(after)]);
    return (
      left.size !== right.size ||
      [...left].some(([name, value]) => Buffer.compare(value, right.get(name) ?? Buffer.alloc(0)) !== 0)
    );
  }

  async #patchOf(path: string, before: TreeNode, after: TreeNode): Promise<string | undefined> {
    const { patch, limit } = this.#options;
    const wanted = patch && this.entries.length < limit && this.#patchCharacters < PATCH_TOTAL_CHARACTERS_MAX;
    const small = [before, after].every(({ type, size }) => type === 'file' && size <= PATCH_FILE_BYTES_MAX);
    if (!wanted || !small) return undefined;
    const text = unifiedPatch(
      path,
      await this.#from.read(before, 0, PATCH_FILE_BYTES_MAX),
      await this.#to.read(after, 0, PATCH_FILE_BYTES_MAX),
    );
    this.#patchCharacters += text?.length ?? 0;
    return text;
  }

  #record(found: Found): void {
    this.counts[found.change === 'metadata' ? 'modified' : found.change] += 1;
    if (this.entries.length < this.#options.limit) this.entries.push(entryOf(found));
  }
}

/** A directory's children, some at a time; none of anything else. */
async function* childrenOf(
  tree: Tree,
  node: TreeNode | undefined,
  path: string,
  guard: LoopGuard,
): AsyncGenerator<readonly TreeEntry[]> {
  if (node?.type !== 'directory') return;
  guard.enter(node, path);
  yield* tree.children(node);
}

interface Found {
  readonly path: string;
  readonly change: DiffEntry['change'];
  readonly before: TreeNode | undefined;
  readonly after: TreeNode | undefined;
  readonly patch?: string;
}

function entryOf({ path, change, before, after, patch }: Found): DiffEntry {
  const { type = 'file' } = after ?? before ?? {};
  return {
    path: path === '' ? '/' : path,
    change,
    type: type === 'character' || type === 'block' ? 'device' : type,
    size: after?.size ?? null,
    size_before: before?.size ?? null,
    mode: after?.mode ?? null,
    mode_before: before?.mode ?? null,
    owner: ownerOf(after),
    owner_before: ownerOf(before),
    ...(patch !== undefined && { patch }),
  };
}

function ownerOf(node: TreeNode | undefined): string | null {
  return node === undefined ? null : `${node.uid}:${node.gid}`;
}

type Pair = readonly [name: string, before: TreeNode | undefined, after: TreeNode | undefined];

/** Pairs the entries of two directories by name, some at a time; both are ascending. */
async function* paired(...sides: readonly [Children, Children]): AsyncGenerator<readonly Pair[]> {
  const [left, right] = [new Side(sides[0]), new Side(sides[1])];
  for (;;) {
    await left.fill();
    await right.fill();
    const pairs: Pair[] = [];
    // As long as it is known what comes next on either side.
    while ((left.entry || right.entry) && (left.entry || left.isOver) && (right.entry || right.isOver)) {
      const pair = pairOf(left.entry, right.entry);
      if (pair[1]) left.pass();
      if (pair[2]) right.pass();
      pairs.push(pair);
    }
    if (pairs.length === 0) return;
    yield pairs;
  }
}

/** Returns the pair of the entry that comes first, or of both where they have the same name. */
function pairOf(a: TreeEntry | undefined, b: TreeEntry | undefined): Pair {
  if (a === undefined || (b !== undefined && b.name < a.name)) return [b?.name ?? '', undefined, b?.node];
  return [a.name, a.node, a.name === b?.name ? b.node : undefined];
}

type Children = AsyncIterator<readonly TreeEntry[]>;

/** A place among a directory's entries. */
class Side {
  readonly #children: Children;
  #some: readonly TreeEntry[] = [];
  #at = 0;
  /** True when everything was read. */
  isOver = false;

  constructor(children: Children) {
    this.#children = children;
  }

  /** Returns the entry here; undefined where `fill` has to be called, or at the end. */
  get entry(): TreeEntry | undefined {
    return this.#some[this.#at];
  }

  pass(): void {
    this.#at += 1;
  }

  /** Reads on if there is no entry here. */
  async fill(): Promise<void> {
    while (this.entry === undefined && !this.isOver) {
      const next = await this.#children.next();
      this.isOver = next.done === true;
      if (next.done !== true) [this.#some, this.#at] = [next.value, 0];
    }
  }
}
