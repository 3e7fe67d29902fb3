import type { Tree } from '../archive/tree.ts';
import type {
  DiffQuery,
  DiffResult,
  DirectoryList,
  FileContent,
  FileItem,
  GrepQuery,
  GrepResult,
  ReadRange,
} from '../contract/inspect.ts';
import * as view from '../images/view.ts';
import type { ImageTrees } from './image-trees.ts';

/** Inspections that read more than one place of an image. Implemented by `images/`. */
export interface Inspector {
  archive(tree: Tree, path: string, signal?: AbortSignal): AsyncIterable<Uint8Array>;
  grep(tree: Tree, query: GrepQuery, signal?: AbortSignal): Promise<GrepResult>;
  diff(from: Tree, to: Tree, query?: DiffQuery, signal?: AbortSignal): Promise<DiffResult>;
}

/** Looking into images by name. No VM is started; trees are kept open for the next question. */
export class Inspection {
  readonly #trees: ImageTrees;
  readonly #inspector: Inspector;

  constructor(trees: ImageTrees, inspector: Inspector) {
    this.#trees = trees;
    this.#inspector = inspector;
  }

  async listDirectory(image: string, path: string): Promise<DirectoryList> {
    await using lease = await this.#trees.open(image);
    return await view.listDirectory(lease.tree, path);
  }

  async stat(image: string, path: string): Promise<FileItem> {
    await using lease = await this.#trees.open(image);
    return await view.stat(lease.tree, path);
  }

  async openFile(image: string, path: string, range?: ReadRange): Promise<FileContent> {
    await using lease = await this.#trees.open(image);
    const { size } = await view.openFile(lease.tree, path, range);
    const { uuid } = lease;
    const body = this.#streamed(uuid, async function* content(tree) {
      yield* (await view.openFile(tree, path, range)).body;
    });
    return { path, size, body };
  }

  async archive(image: string, path: string, signal?: AbortSignal): Promise<AsyncIterable<Uint8Array>> {
    await using lease = await this.#trees.open(image);
    // Only to fail here, before the answer begins.
    await view.resolve(lease.tree, path);
    return this.#streamed(lease.uuid, (tree) => this.#inspector.archive(tree, path, signal));
  }

  async grep(image: string, query: GrepQuery, signal?: AbortSignal): Promise<GrepResult> {
    await using lease = await this.#trees.open(image);
    return await this.#inspector.grep(lease.tree, query, signal);
  }

  async diff(images: readonly [string, string], query?: DiffQuery, signal?: AbortSignal): Promise<DiffResult> {
    await using from = await this.#trees.open(images[0]);
    await using to = await this.#trees.open(images[1]);
    return { ...(await this.#inspector.diff(from.tree, to.tree, query, signal)), from: from.uuid, to: to.uuid };
  }

  /** A stream that keeps its tree open while it is read, and nothing at all when nobody reads it. */
  async *#streamed(image: string, content: (tree: Tree) => AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
    await using lease = await this.#trees.open(image);
    yield* content(lease.tree);
  }
}
