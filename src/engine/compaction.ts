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

/** Number of layers above which an image is compacted in the background (figures in decision 0005). */
const LAYERS_WANTED = 16;
/** Minimum number of layers to merge at once, so that a layer is rarely copied. */
const MERGED_MIN = 8;

/**
 * Keeps long chains of layers short, so that an image at depth 200 starts and reads like one at depth 10: upper layers
 * are merged into one, which replaces them in every image that has exactly these layers. UUIDs, lineage and content
 * stay the same; the old layers stay until gc finds that no image uses them.
 *
 * Layers are merged from the top down as long as the next one is not much larger than those merged so far. So a large
 * bottom layer is left alone, and every byte is copied a logarithmic number of times over the life of a chain.
 */
export class Compactor implements AsyncDisposable {
  readonly #store: Store;
  readonly #readers: ReaderPool;
  readonly #log: EngineLog;
  readonly #stop = new AbortController();
  /** Background compactions, one at a time: they are never urgent, and compete with runs for the disk. */
  #queue: Promise<void> = Promise.resolve();
  readonly #queued = new Set<string>();
  /** Compactions in progress, so that everyone who needs one waits for the same work. */
  readonly #running = new Map<string, Promise<void>>();

  constructor(store: Store, readers: ReaderPool, log: EngineLog) {
    this.#store = store;
    this.#readers = readers;
    this.#log = log;
  }

  /** Schedules a compaction of the image if it has too many layers. */
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
   * Returns the layers of an image for a guest to mount all at once, with so many others over them (at most 8; one holds
   * injected files). Compacts first if there are too many for that, otherwise later. Layers whose merge would exceed the
   * limits of a layer are left as they are. The caller holds the store.
   */
  async mountable(image: string, signal: AbortSignal, others = 1): Promise<readonly string[]> {
    if (this.#needs(image, limits.layersMountedMax - others)) {
      try {
        await untilAborted(this.#once(image), signal);
      } catch (error) {
        if (!isFault(error, 'LAYER_LIMIT', 'LAYER_MALFORMED')) throw error;
        this.#log.warn({ image, err: error }, 'an image could not be compacted');
      }
    } else {
      // An engine that was stopped may have left the image to be compacted.
      this.schedule(image);
    }
    return this.#store.stacks.of(image);
  }

  /** Waits for the compactions that are scheduled now. */
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
    // The new layer is on disk and held until the images refer to it; a crash before that only leaves work for gc.
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

/** Returns the position of the lowest layer to merge, given the sizes of all, bottom first. */
export function mergeFrom(bytes: readonly number[]): number {
  let from = bytes.length - MERGED_MIN;
  let merged = bytes.slice(from).reduce((sum, size) => sum + size, 0);
  // Goes further down, past large layers too, until few enough are left.
  while (from > 0 && ((bytes[from - 1] ?? 0) <= 2 * merged || from >= LAYERS_WANTED)) {
    from -= 1;
    merged += bytes[from] ?? 0;
  }
  return from;
}
