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
  /** By image; least recently used first. */
  readonly #slots = new Map<string, Slot>();

  constructor(store: Store, readers: ReaderPool) {
    this.#store = store;
    this.#readers = readers;
  }

  /** Rejects with IMAGE_NOT_FOUND, or STORE_CORRUPT when a layer is damaged. */
  async open(image: string): Promise<TreeLease> {
    const { uuid, layers } = this.#store.images.resolve(image);
    const slot = this.#slots.get(uuid) ?? { tree: this.#load(layers), users: 0 };
    this.#slots.delete(uuid);
    this.#slots.set(uuid, slot);
    slot.users += 1;
    try {
      return { uuid, tree: await slot.tree, [Symbol.asyncDispose]: () => this.#release(uuid, slot) };
    } catch (error) {
      if (this.#slots.get(uuid) === slot) this.#slots.delete(uuid);
      throw error;
    }
  }

  /** Closes what nobody uses, so that deleted layers give back their space. */
  async closeIdle(keep = 0): Promise<void> {
    const idle = [...this.#slots].filter(([, { users }]) => users === 0);
    for (const [uuid, slot] of idle.slice(0, Math.max(0, idle.length - keep))) {
      this.#slots.delete(uuid);
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

  async #release(uuid: string, slot: Slot): Promise<void> {
    slot.users -= 1;
    if (this.#slots.get(uuid) === slot) await this.closeIdle(IDLE_MAX);
  }
}

async function close({ tree }: Slot): Promise<void> {
  const opened = await tree.catch(() => undefined);
  await opened?.[Symbol.asyncDispose]();
}
