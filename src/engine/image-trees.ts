import { Tree } from '../archive/tree.ts';
import type { ReaderPool } from '../erofs/reader-pool.ts';
import type { Store } from '../store/store.ts';

/** Trees kept open that nobody uses. */
const IDLE_MAX = 32;

/** An open tree, in use until it is disposed. */
export interface TreeLease extends AsyncDisposable {
  readonly uuid: string;
  readonly tree: Tree;
}

interface Slot {
  readonly tree: Promise<Tree>;
  users: number;
}

/** Keeps the trees of recently inspected images open, so that looking again costs a few reads at most. */
export class ImageTrees implements AsyncDisposable {
  readonly #store: Store;
  readonly #readers: ReaderPool;
  /** By layers, since an image is given others when they are merged; least recently used first. */
  readonly #slots = new Map<string, Slot>();

  constructor(store: Store, readers: ReaderPool) {
    this.#store = store;
    this.#readers = readers;
  }

  /** Rejects with IMAGE_NOT_FOUND, or STORE_CORRUPT when a layer is damaged. */
  async open(image: string): Promise<TreeLease> {
    const { uuid, layers } = this.#store.images.resolve(image);
    const key = layers.join();
    const slot = this.#slots.get(key) ?? { tree: this.#load(layers), users: 0 };
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

  /** Closes what nobody uses, so that deleted layers give back their space. */
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

  async #load(layers: readonly string[]): Promise<Tree> {
    using _hold = this.#store.hold();
    return await Tree.open(await this.#store.layers.files(layers), this.#readers);
  }

  async #release(key: string, slot: Slot): Promise<void> {
    slot.users -= 1;
    if (this.#slots.get(key) === slot) await this.closeIdle(IDLE_MAX);
  }
}

async function close({ tree }: Slot): Promise<void> {
  const opened = await tree.catch(() => undefined);
  await opened?.[Symbol.asyncDispose]();
}
