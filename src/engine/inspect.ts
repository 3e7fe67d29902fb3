import type { Tree } from '../layers/tree.ts';
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
import { diff } from '../images/inspect/diff.ts';
import { exportLayout, type ExportRequest } from '../images/export/oci-layout.ts';
import { grep } from '../images/inspect/grep/grep.ts';
import * as view from '../images/inspect/view.ts';
import type { ProjectStore } from '../store/project-store.ts';
import type { ImageTrees } from './image-trees.ts';

/** Looking into a project's images by name. No VM is started; trees are kept open for the next question. */
export class Inspection {
  readonly #store: ProjectStore;
  readonly #trees: ImageTrees;

  constructor(store: ProjectStore, trees: ImageTrees) {
    this.#store = store;
    this.#trees = trees;
  }

  async listDirectory(image: string, path: string): Promise<DirectoryList> {
    await using lease = await this.#trees.open(this.#store, image);
    return await view.listDirectory(lease.tree, path);
  }

  async stat(image: string, path: string): Promise<FileItem> {
    await using lease = await this.#trees.open(this.#store, image);
    return await view.stat(lease.tree, path);
  }

  async openFile(image: string, path: string, range?: ReadRange): Promise<FileContent> {
    await using lease = await this.#trees.open(this.#store, image);
    const { size } = await view.openFile(lease.tree, path, range);
    const body = this.#streamed(lease.uuid, async (tree) => (await view.openFile(tree, path, range)).body);
    return { path, size, body };
  }

  async archive(image: string, path: string, signal?: AbortSignal): Promise<AsyncIterable<Uint8Array>> {
    await using lease = await this.#trees.open(this.#store, image);
    // Only to fail here, before the answer begins.
    await view.resolve(lease.tree, path);
    return this.#streamed(lease.uuid, (tree) => view.archive(tree, path), signal);
  }

  async grep(image: string, query: GrepQuery, signal?: AbortSignal): Promise<GrepResult> {
    await using lease = await this.#trees.open(this.#store, image);
    return await grep(lease.tree, query, signal);
  }

  async diff(images: readonly [string, string], query?: DiffQuery, signal?: AbortSignal): Promise<DiffResult> {
    await using from = await this.#trees.open(this.#store, images[0]);
    await using to = await this.#trees.open(this.#store, images[1]);
    return await diff({ image: from.uuid, tree: from.tree }, { image: to.uuid, tree: to.tree }, query, signal);
  }

  async export(image: string, signal?: AbortSignal): Promise<AsyncIterable<Uint8Array>> {
    return this.#exported(this.#store.images.resolve(image).uuid, signal);
  }

  /** A stream that keeps its tree open while it is read, and nothing at all when nobody reads it. */
  async *#streamed(
    image: string,
    open: (tree: Tree) => Promise<AsyncIterable<Uint8Array>>,
    signal?: AbortSignal,
  ): AsyncIterable<Uint8Array> {
    await using lease = await this.#trees.open(this.#store, image);
    for await (const chunk of await open(lease.tree)) {
      signal?.throwIfAborted();
      yield chunk;
    }
  }

  /** What `export` writes, for as long as the store is held. */
  async exportRequest(image: string): Promise<ExportRequest> {
    return this.#exportRequest(this.#store.images.resolve(image).uuid);
  }

  async *#exported(image: string, signal?: AbortSignal): AsyncIterable<Uint8Array> {
    using _hold = this.#store.hold();
    yield* exportLayout(await this.#exportRequest(image), signal);
  }

  async #exportRequest(image: string): Promise<ExportRequest> {
    const { uuid, layers, config } = this.#store.images.get(image);
    const { image: self, ancestors } = this.#store.images.lineage(uuid);
    const lineage = [self, ...ancestors].toReversed().map((node) => ({
      uuid: node.uuid,
      createdAt: node.created_at,
      command: node.parent_uuid === null ? null : node.command,
    }));
    return { uuid, config, lineage, layers: await this.#store.layers.files(layers) };
  }
}
