import { Tree } from '../layers/tree.ts';
import type { ReaderPool } from '../erofs/reader-pool.ts';
import type { ProjectStore } from '../store/project-store.ts';

/** Maximum number of unused trees that are kept open. */
const IDLE_MAX = 32;

/** Open tree, in use until it is disposed. */
export interface TreeLease extends AsyncDisposable {
  readonly uuid: string;
  readonly tree: Tree;
}

interface Slot {
  readonly tree: Promise<Tree>;
  users: number;
}

/** Keeps the trees of recently inspected images of all projects open, so that the next inspection needs few reads. */
export class ImageTrees implements AsyncDisposable {
  readonly #readers: ReaderPool;
  /**
   * Slots by layers and their versions, because the layers of an image change when they are merged; least recently used
   * first.
   */
  readonly #slots = new Map<string, Slot>();

  constructor(readers: ReaderPool) {
    this.#readers = readers;
  }

  /** Returns the tree of a project's image. Rejects with IMAGE_NOT_FOUND, or STORE_CORRUPT when a layer is damaged. */
  async open(store: ProjectStore, image: string): Promise<TreeLease> {
    const { uuid, layers } = store.images.resolve(image);
    const key = store.layers.versions(layers) ?? (await checked(store, layers));
    const slot = this.#slots.get(key) ?? { tree: this.#load(store, layers), users: 0 };
    this.#slots.delete(key);
    this.#slots.set(key, slot);
    slot.users += 1;
    try {
      return { uuid, tree: await slot.tree, [Symbol.asyncDispose]: () => this.#release(key, slot) };
    } catch (error) {
      if (this.#slots.get(key) === slot) this.#slots.delete(key);
      throw error;
    }
  }

  /** Closes unused trees, so that deleted layers free their space. */
  async closeIdle(keep = 0): Promise<void> {
    const idle = [...this.#slots].filter(([, { users }]) => users === 0);
    for (const [key, slot] of idle.slice(0, Math.max(0, idle.length - keep))) {
      this.#slots.delete(key);
      await close(slot);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const slots = [...this.#slots.values()];
    this.#slots.clear();
    for (const slot of slots) await close(slot);
  }

  async #load(store: ProjectStore, layers: readonly string[]): Promise<Tree> {
    using _hold = store.hold();
    return await Tree.open(await store.layers.files(layers), this.#readers);
  }

  async #release(key: string, slot: Slot): Promise<void> {
    slot.users -= 1;
    if (this.#slots.get(key) === slot) await this.closeIdle(IDLE_MAX);
  }
}

/** Returns the versions of the layers after checking those that were written to. Rejects with STORE_CORRUPT. */
async function checked(store: ProjectStore, layers: readonly string[]): Promise<string> {
  await store.layers.files(layers);
  return store.layers.versions(layers) ?? layers.join();
}

async function close({ tree }: Slot): Promise<void> {
  const opened = await tree.catch(() => undefined);
  await opened?.[Symbol.asyncDispose]();
}
