import type { LayerFile } from '../contract/layer.ts';
import { assert, defined } from '../std/assert.ts';
import { WindowCache } from './cache.ts';
import { LayerReader } from './reader.ts';

interface Slot {
  readonly reader: Promise<LayerReader>;
  users: number;
}

/** Shares open readers, and the metadata they cache, between all who read the same layers. */
export class ReaderPool implements AsyncDisposable {
  readonly #idleMax: number;
  readonly #cache: WindowCache;
  /** By path; least recently acquired first. */
  readonly #slots = new Map<string, Slot>();

  /** Keeps at most `idleMax` layers open that nobody uses. */
  constructor(idleMax: number = 256, cache: WindowCache = new WindowCache()) {
    this.#idleMax = idleMax;
    this.#cache = cache;
  }

  /** The reader of a layer; every acquire is followed by one `release`. */
  async acquire(layer: LayerFile): Promise<LayerReader> {
    const slot = this.#slots.get(layer.path) ?? { reader: LayerReader.open(layer, this.#cache), users: 0 };
    this.#slots.delete(layer.path);
    this.#slots.set(layer.path, slot);
    slot.users++;
    try {
      return await slot.reader;
    } catch (error) {
      slot.users--;
      if (this.#slots.get(layer.path) === slot) this.#slots.delete(layer.path);
      throw error;
    }
  }

  async release(layer: LayerFile): Promise<void> {
    const slot = defined(this.#slots.get(layer.path), 'only what was acquired is released');
    assert(slot.users > 0, 'released as often as acquired');
    slot.users--;
    let idle = [...this.#slots.values()].filter(({ users }) => users === 0).length;
    for (const [path, { users }] of this.#slots) {
      if (idle <= this.#idleMax) break;
      if (users > 0) continue;
      await this.evict(path);
      idle--;
    }
  }

  /** Closes the reader of a layer that is about to be deleted, unless it is in use; its space is free only then. */
  async evict(path: string): Promise<void> {
    const slot = this.#slots.get(path);
    if (slot === undefined || slot.users > 0) return;
    this.#slots.delete(path);
    await close(slot);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const slots = [...this.#slots.values()];
    this.#slots.clear();
    await Promise.all(slots.map(close));
  }
}

async function close({ reader }: Slot): Promise<void> {
  const opened = await reader.catch(() => undefined);
  await opened?.[Symbol.asyncDispose]();
}
