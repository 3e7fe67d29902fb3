import { createHash } from 'node:crypto';
import { entryOf, type LayerEntry } from '../../layers/layer-builder.ts';
import { splitPath } from '../../layers/path.ts';
import type { Tree, TreeNode } from '../../layers/tree.ts';
import { limits } from '../../contract/limits.ts';
import { NO_XATTRS } from '../../erofs/node.ts';
import type { ByteString } from '../../std/bytes.ts';
import { hashStream } from '../../std/streams.ts';

/** Child of a directory. */
export interface SourceEntry {
  readonly name: ByteString;
  readonly node: SourceNode;
}

/** A file that COPY or ADD can read: of the context, of a stage or of an image. */
export interface SourceNode {
  readonly type: LayerEntry['type'];
  /** Permission bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Key of a file with several names; undefined where there is only one. */
  readonly inode: string | undefined;
  /** Returns a text that changes with the content: of a file or symlink, not of what is in a directory. */
  fingerprint(signal: AbortSignal): Promise<string>;
  /** Returns the file as it is put into a layer. */
  entry(signal: AbortSignal): Promise<LayerEntry>;
  /** Returns the child of that name. */
  find(name: ByteString): Promise<SourceNode | undefined>;
  /** Returns the children of a directory in byte order; none of anything else. */
  children(): Promise<readonly SourceEntry[]>;
  readlink(): Promise<ByteString>;
}

/** A file of an image. */
export class ImageSourceNode implements SourceNode {
  readonly #tree: Tree;
  readonly #node: TreeNode;

  constructor(tree: Tree, node: TreeNode = tree.root) {
    this.#tree = tree;
    this.#node = node;
  }

  get type(): LayerEntry['type'] {
    return this.#node.type;
  }

  get mode(): number {
    return this.#node.mode & 0o7777;
  }

  get uid(): number {
    return this.#node.uid;
  }

  get gid(): number {
    return this.#node.gid;
  }

  get inode(): string | undefined {
    return this.#node.type === 'file' && this.#node.nlink > 1 ? this.#node.key : undefined;
  }

  async fingerprint(signal: AbortSignal): Promise<string> {
    const { type, major, minor } = this.#node;
    const xattrs = await this.#tree.xattrs(this.#node);
    const named = [...xattrs].map(([name, value]) => `${name}=${Buffer.from(value).toString('hex')}`).join();
    if (type === 'symlink') return `${await this.readlink()} ${named}`;
    if (type !== 'file') return `${major}:${minor} ${named}`;
    const { sha256 } = await hashStream(this.#tree.stream(this.#node));
    signal.throwIfAborted();
    return `${sha256} ${named}`;
  }

  async entry(): Promise<LayerEntry> {
    return await entryOf(this.#tree, this.#node);
  }

  async find(name: ByteString): Promise<SourceNode | undefined> {
    const child = this.#node.type === 'directory' ? await this.#tree.find(this.#node, name) : undefined;
    return child && new ImageSourceNode(this.#tree, child);
  }

  async children(): Promise<readonly SourceEntry[]> {
    if (this.#node.type !== 'directory') return [];
    const children = await this.#tree.list(this.#node);
    return children.map(({ name, node }) => ({ name, node: new ImageSourceNode(this.#tree, node) }));
  }

  async readlink(): Promise<ByteString> {
    return await this.#tree.readlink(this.#node);
  }
}

/** A file whose content is at hand: in a Dockerfile, or downloaded. */
export class GivenNode implements SourceNode {
  readonly type = 'file';
  readonly uid = 0;
  readonly gid = 0;
  readonly inode = undefined;
  readonly mode: number;
  readonly #fingerprint: string;
  readonly #content: (signal: AbortSignal) => GivenContent;

  constructor(mode: number, fingerprint: string, content: (signal: AbortSignal) => GivenContent) {
    this.mode = mode;
    this.#fingerprint = fingerprint;
    this.#content = content;
  }

  async fingerprint(): Promise<string> {
    return this.#fingerprint;
  }

  async entry(signal: AbortSignal): Promise<LayerEntry> {
    const metadata = { mode: this.mode, uid: 0, gid: 0, mtimeNanoseconds: 0, xattrs: NO_XATTRS };
    return { ...metadata, ...this.#content(signal), type: 'file' };
  }

  async find(): Promise<undefined> {
    return undefined;
  }

  async children(): Promise<readonly SourceEntry[]> {
    return [];
  }

  async readlink(): Promise<ByteString> {
    return '';
  }
}

/** Content of a given file, opened anew each time. */
export interface GivenContent {
  readonly size: number;
  readonly content: AsyncIterable<Uint8Array>;
  readonly mtimeSeconds: number;
}

/** Time of what has none of its own: equal steps give equal layers. Not 0, because zip cannot represent times before 1980. */
export const STEP_TIME_SECONDS = Date.parse('2000-01-01T00:00:00Z') / 1_000;

/**
 * Returns the file at a path, with symlinks resolved inside of the root, the last one too; undefined when there is none.
 */
export async function locateSource(root: SourceNode, path: ByteString): Promise<SourceNode | undefined> {
  const pending = splitPath(path).toReversed();
  const stack: SourceNode[] = [root];
  let follows = 0;
  for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
    if (name === '..') {
      if (stack.length > 1) stack.pop();
      continue;
    }
    const node = await stack.at(-1)?.find(name);
    if (node === undefined) return undefined;
    if (node.type !== 'symlink') {
      stack.push(node);
      continue;
    }
    follows += 1;
    if (follows > limits.symlinkFollowsMax) return undefined;
    const target = await node.readlink();
    if (target.startsWith('/')) stack.length = 1;
    pending.push(...splitPath(target).toReversed());
  }
  return stack.at(-1);
}

/** Returns the sha256 (hex) of texts, none of which can run into the next. */
export function digestOfTexts(texts: readonly string[]): string {
  const hash = createHash('sha256');
  for (const text of texts) hash.update(`${text.length} `).update(text);
  return hash.digest('hex');
}
