import type { LayerFile } from './layer-file.ts';
import { assert, defined } from '../std/assert.ts';
import { WindowCache } from './cache.ts';
import { LayerReader } from './reader.ts';

interface Slot {
  readonly path: string;
  readonly reader: Promise<LayerReader>;
  users: number;
}

/** Pool of open readers, which shares them and their cached metadata between all users of the same layers. */
export class ReaderPool implements AsyncDisposable {
  readonly #idleMax: number;
  readonly #cache: WindowCache;
  /** Slots by path and version, least recently acquired first. */
  readonly #slots = new Map<string, Slot>();

  /** Creates a pool that keeps at most `idleMax` unused layers open. */
  constructor(idleMax: number = 256, cache: WindowCache = new WindowCache()) {
    this.#idleMax = idleMax;
    this.#cache = cache;
  }

  /** Returns the reader of a layer; every acquire is followed by one `release`. */
  async acquire(layer: LayerFile): Promise<LayerReader> {
    const key = keyOf(layer);
    const slot = this.#slots.get(key) ?? { path: layer.path, reader: LayerReader.open(layer, this.#cache), users: 0 };
    this.#slots.delete(key);
    this.#slots.set(key, slot);
    slot.users++;
    try {
      return await slot.reader;
    } catch (error) {
      slot.users--;
      if (this.#slots.get(key) === slot) this.#slots.delete(key);
      throw error;
    }
  }

  async release(layer: LayerFile): Promise<void> {
    const slot = defined(this.#slots.get(keyOf(layer)), 'only what was acquired is released');
    assert(slot.users > 0, 'released as often as acquired');
    slot.users--;
    let idle = [...this.#slots.values()].filter(({ users }) => users === 0).length;
    for (const [key, least] of this.#slots) {
      if (idle <= this.#idleMax) break;
      if (least.users > 0) continue;
      this.#slots.delete(key);
      await close(least);
      idle--;
    }
  }

  /**
   * Closes the reader of a layer that is about to be deleted, unless it is in use; only then is its disk space freed.
   */
  async evict(path: string): Promise<void> {
    for (const [key, slot] of this.#slots) {
      if (slot.path !== path || slot.users > 0) continue;
      this.#slots.delete(key);
      await close(slot);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const slots = [...this.#slots.values()];
    this.#slots.clear();
    await Promise.all(slots.map(close));
  }
}

function keyOf({ path, version = '' }: LayerFile): string {
  return `${path}\n${version}`;
}

async function close({ reader }: Slot): Promise<void> {
  const opened = await reader.catch(() => undefined);
  await opened?.[Symbol.asyncDispose]();
}
