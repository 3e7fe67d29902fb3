import { posix } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { tarOf, type Change } from './tar.ts';

type Node =
  | { readonly kind: 'file'; readonly chunks: Buffer[]; readonly mode: number }
  | { readonly kind: 'directory'; readonly mode: number }
  | { readonly kind: 'symlink'; readonly target: string };

/** Directories that every image is assumed to have. */
const PRESENT = new Set([
  '/',
  '/bin',
  '/dev',
  '/etc',
  '/home',
  '/opt',
  '/proc',
  '/root',
  '/tmp',
  '/usr',
  '/var',
  '/srv',
]);

/** A failed file operation, with the message that programs print. */
export class FileError extends Error {}

/**
 * Files written by a fake guest. It cannot read the image's layers (drivers know no layer format), so files of the
 * image can be removed and replaced, but not read.
 */
export class FakeFiles {
  readonly #nodes = new Map<string, Node>();
  /** Removed paths that were not written here, so presumably files of the image. */
  readonly #hidden = new Set<string>();
  /** Changes that the last accepted snapshot has over the image. */
  #accepted: ReadonlyMap<string, Change> = new Map();
  readonly #bytesMax: number;
  #bytes = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  write(path: string, content: Uint8Array, append: boolean): void {
    const target = this.#target(path);
    if (this.#isDirectory(target)) throw new FileError(`${path}: Is a directory`);
    if (!this.#isDirectory(posix.dirname(target))) throw new FileError(`${path}: No such file or directory`);
    const known = this.#nodes.get(target);
    const before = known?.kind === 'file' ? known.chunks : [];
    this.#charge(content.byteLength - (append ? 0 : sizeOf(before)));
    if (append && known?.kind === 'file') known.chunks.push(Buffer.from(content));
    else this.#nodes.set(target, { kind: 'file', chunks: [Buffer.from(content)], mode: 0o644 });
  }

  read(path: string): Buffer {
    const node = this.#nodes.get(this.#target(path));
    if (node?.kind === 'file') return Buffer.concat(node.chunks);
    throw new FileError(`${path}: ${node?.kind === 'directory' ? 'Is a directory' : 'No such file or directory'}`);
  }

  exists(path: string): boolean {
    const target = this.#target(path);
    const node = this.#nodes.get(target);
    return node !== undefined || PRESENT.has(target);
  }

  /** Creates a directory and its parents, like `mkdir -p`. */
  makeDirectory(path: string): void {
    if (this.#isDirectory(path)) return;
    if (this.exists(path)) throw new FileError(`${path}: File exists`);
    this.makeDirectory(posix.dirname(path));
    this.#nodes.set(path, { kind: 'directory', mode: 0o755 });
  }

  link(target: string, path: string): void {
    if (this.exists(path)) throw new FileError(`${path}: File exists`);
    this.#nodes.set(path, { kind: 'symlink', target });
  }

  /** Removes a path and everything below it. */
  remove(path: string): void {
    if (!this.#nodes.has(path)) this.#hidden.add(path);
    for (const [name, node] of this.#nodes) {
      if (name !== path && !name.startsWith(`${path}/`)) continue;
      if (node.kind === 'file') this.#charge(-sizeOf(node.chunks));
      this.#nodes.delete(name);
    }
  }

  /** Returns the layer over the last accepted snapshot, empty when nothing was written since, and a call that accepts it. */
  changes(): { readonly tar: Iterable<Uint8Array>; readonly accept: () => void } {
    const whiteouts = [...this.#hidden].map((path): Change => ({ path, kind: 'whiteout' }));
    const all = [...whiteouts, ...[...this.#nodes].map(([path, node]) => changeOf(path, node))];
    const now = new Map(all.map((change) => [change.path, change]));
    const gone = [...this.#accepted.values()].filter(({ path, kind }) => kind !== 'whiteout' && !now.has(path));
    const changed = all.filter((change) => !isDeepStrictEqual(change, this.#accepted.get(change.path)));
    const changes = [...changed, ...gone.map(({ path }): Change => ({ path, kind: 'whiteout' }))];
    const sorted = changes.sort((left, right) => (left.path < right.path ? -1 : 1));
    const tar = sorted.length === 0 ? [] : [...tarOf(sorted, Math.floor(Date.now() / 1_000))];
    return {
      tar: tar.filter(({ byteLength }) => byteLength > 0),
      accept: () => {
        this.#accepted = now;
      },
    };
  }

  #target(path: string): string {
    const node = this.#nodes.get(path);
    return node?.kind === 'symlink' ? posix.resolve(posix.dirname(path), node.target) : path;
  }

  #isDirectory(path: string): boolean {
    const node = this.#nodes.get(path);
    return node === undefined ? PRESENT.has(path) : node.kind === 'directory';
  }

  #charge(bytes: number): void {
    if (this.#bytes + bytes > this.#bytesMax) throw new FileError('No space left on device');
    this.#bytes += bytes;
  }
}

function sizeOf(chunks: readonly Buffer[]): number {
  return chunks.reduce((sum, { byteLength }) => sum + byteLength, 0);
}

function changeOf(path: string, node: Node): Change {
  if (node.kind !== 'file') return { path, ...node };
  return { path, kind: 'file', content: Buffer.concat(node.chunks), mode: node.mode };
}
