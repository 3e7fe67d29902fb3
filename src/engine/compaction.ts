import { createHash } from 'node:crypto';
import { Tree } from '../layers/tree.ts';
import { isFault } from '../contract/errors.ts';
import { limits } from '../contract/limits.ts';
import type { ReaderPool } from '../erofs/reader-pool.ts';
import type { Layer } from '../store/layers.ts';
import type { Store } from '../store/store.ts';
import type { EngineLog } from './log.ts';
import { mergeLayers } from '../layers/merge-layers.ts';
import { untilAborted } from '../std/abort.ts';

/** An image of more layers is compacted in the background (decision 0005 has the figures). */
const LAYERS_WANTED = 16;
/** More are merged before a run. One mount is left for injected files. */
const LAYERS_BELOW_RUN_MAX = limits.layersMountedMax - 1;
/** At least so many layers are merged at once, so that a layer is copied seldom. */
const MERGED_MIN = 8;

/**
 * Keeps long chains of layers short, so that an image at depth 200 starts and reads like one at depth 10: upper layers
 * are merged into one, and every image that lies on exactly these layers is given that instead. UUIDs, lineage and
 * content stay; the layers stay until gc finds that no image has them.
 *
 * Layers are merged from the top down as long as the next is not much larger than what is merged already. So a large
 * bottom is left alone, and every byte is copied a logarithmic number of times over the life of a chain.
 */
export class Compactor implements AsyncDisposable {
  readonly #store: Store;
  readonly #readers: ReaderPool;
  readonly #log: EngineLog;
  readonly #stop = new AbortController();
  /** In the background one at a time: it is never urgent, and competes with runs for the disk. */
  #queue: Promise<void> = Promise.resolve();
  readonly #queued = new Set<string>();
  /** Compactions in progress, so that all who need one wait for the same work. */
  readonly #running = new Map<string, Promise<void>>();

  constructor(store: Store, readers: ReaderPool, log: EngineLog) {
    this.#store = store;
    this.#readers = readers;
    this.#log = log;
  }

  /** Compacts the image some time later, if it has too many layers. */
  schedule(image: string): void {
    if (this.#queued.has(image) || this.#stop.signal.aborted || !this.#needs(image, LAYERS_WANTED)) return;
    this.#queued.add(image);
    this.#queue = this.#queue.then(async () => {
      try {
        await this.#once(image);
      } catch (error) {
        if (!this.#stop.signal.aborted) this.#log.warn({ image, err: error }, 'an image could not be compacted');
      } finally {
        this.#queued.delete(image);
      }
    });
  }

  /**
   * Layers of the image for a guest to mount all at once; compacts now if there are too many for that, else later. What
   * cannot be merged within the bounds of a layer is left to the guest as it is. Hold the store.
   */
  async mountable(image: string, signal: AbortSignal): Promise<readonly string[]> {
    if (this.#needs(image, LAYERS_BELOW_RUN_MAX)) {
      try {
        await untilAborted(this.#once(image), signal);
      } catch (error) {
        if (!isFault(error, 'LAYER_LIMIT', 'LAYER_MALFORMED')) throw error;
        this.#log.warn({ image, err: error }, 'an image could not be compacted');
      }
    } else {
      // A stopped engine may have left it.
      this.schedule(image);
    }
    return this.#store.stacks.of(image);
  }

  /** Waits for what is scheduled now. */
  async settled(): Promise<void> {
    await this.#queue;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Error('the engine stops'));
    await this.#queue;
    await Promise.allSettled(this.#running.values());
  }

  #needs(image: string, most: number): boolean {
    return this.#store.stacks.of(image).length > most;
  }

  async #once(image: string): Promise<void> {
    const running = this.#running.get(image) ?? this.#compact(image).finally(() => this.#running.delete(image));
    this.#running.set(image, running);
    await running;
  }

  async #compact(image: string): Promise<void> {
    using _hold = this.#store.hold();
    const { signal } = this.#stop;
    const before = this.#store.stacks.of(image);
    if (before.length <= LAYERS_WANTED) return;
    signal.throwIfAborted();
    const from = mergeFrom(before.map((digest) => this.#store.layers.bytesOf([digest])));
    const merged = await this.#merge(before.slice(0, from), before.slice(from), signal);
    // The new layer is on disk and held until the images have it; a crash before this leaves work for gc, no more.
    this.#store.stacks.replace(before, [...before.slice(0, from), merged.digest]);
  }

  async #merge(below: readonly string[], upper: readonly string[], signal: AbortSignal): Promise<Layer> {
    const source = `merged:${createHash('sha256')
      .update(`${below.join(' ')}\n${upper.join(' ')}`)
      .digest('hex')}`;
    const known = this.#store.layers.findBySource(source);
    if (known !== undefined) return known;
    const { layers } = this.#store;
    const readers = this.#readers;
    await using lower = below.length === 0 ? null : await Tree.open(await layers.files(below), readers);
    await using staged = layers.stage();
    const request = { layers: await layers.files(upper), lower: lower ?? undefined, readers, target: staged.path };
    const summary = await mergeLayers(request, signal);
    return await layers.publish(staged, { ...summary, source });
  }
}

/** Position of the lowest layer to merge, given the sizes of all, bottom first. */
export function mergeFrom(bytes: readonly number[]): number {
  let from = bytes.length - MERGED_MIN;
  let merged = bytes.slice(from).reduce((sum, size) => sum + size, 0);
  // Going further down, past large layers too, until what is left is few enough.
  while (from > 0 && ((bytes[from - 1] ?? 0) <= 2 * merged || from >= LAYERS_WANTED)) {
    from -= 1;
    merged += bytes[from] ?? 0;
  }
  return from;
}
