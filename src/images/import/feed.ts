import { limits } from '../../contract/limits.ts';
import type { OciLayer } from '../../registry/oci-image.ts';
import { assert, defined } from '../../std/assert.ts';
import { Spool } from './spool.ts';

export interface FeedOptions {
  /** Layers that will be opened, in this order. */
  readonly layers: readonly OciLayer[];
  /** Folder for temporary files. */
  readonly tmp: string;
  /** True to fetch ahead. */
  readonly ahead: boolean;
  /** Called for every chunk that arrives, with its bytes. */
  readonly onBytes: (bytes: number) => void;
}

interface Fetch {
  readonly spool: Spool;
  readonly filled: Promise<void>;
}

const ENDED = new Error('the import has ended');

/**
 * Source of the bytes of layers, one after the other, that meanwhile fetches the next few into temporary files to keep
 * the network busy while a layer is being built. At most `limits.layerDownloadsAtOnce` layers are in progress, and one
 * fewer on disk. Disposing it ends all transfers.
 */
export class LayerFeed implements AsyncDisposable {
  readonly #options: FeedOptions;
  readonly #abort = new AbortController();
  readonly #signal: AbortSignal;
  readonly #fetches = new Map<number, Promise<Fetch>>();

  constructor(options: FeedOptions, signal: AbortSignal) {
    this.#options = options;
    this.#signal = AbortSignal.any([signal, this.#abort.signal]);
  }

  /** Streams the bytes of layer `index` as they arrive, or from its temporary file. Each layer may be opened once. */
  async *open(index: number): AsyncGenerator<Uint8Array> {
    const layer = defined(this.#options.layers[index], 'only given layers are opened');
    const pending = this.#fetches.get(index);
    this.#fetches.delete(index);
    this.#fetchAhead(index);
    if (pending === undefined) {
      yield* this.#counted(layer);
      return;
    }
    const { spool, filled } = await pending;
    let complete = false;
    try {
      yield* spool.read();
      await filled;
      complete = true;
    } finally {
      // A layer that is not read to its end has failed, and so has the import.
      if (!complete) this.#abort.abort(ENDED);
      await filled.catch(() => undefined);
      await spool[Symbol.asyncDispose]();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort(ENDED);
    const fetches = await Promise.allSettled(this.#fetches.values());
    for (const fetch of fetches) {
      if (fetch.status === 'rejected') continue;
      await fetch.value.filled.catch(() => undefined);
      await fetch.value.spool[Symbol.asyncDispose]();
    }
  }

  #fetchAhead(index: number): void {
    const { layers, ahead } = this.#options;
    if (!ahead) return;
    const end = Math.min(layers.length, index + limits.layerDownloadsAtOnce);
    for (let next = index + 1; next < end; next += 1) {
      if (this.#fetches.has(next)) continue;
      const fetch = this.#fetch(defined(layers[next], 'it is within the layers'));
      // Reported when the layer is opened; a layer that is never opened needs no report.
      fetch.catch(() => undefined);
      this.#fetches.set(next, fetch);
    }
  }

  async #fetch(layer: OciLayer): Promise<Fetch> {
    const spool = await Spool.create(this.#options.tmp);
    const filled = spool.fill(this.#counted(layer));
    filled.catch(() => undefined);
    return { spool, filled };
  }

  async *#counted(layer: OciLayer): AsyncGenerator<Uint8Array> {
    let bytes = 0;
    for await (const chunk of layer.open(this.#signal)) {
      bytes += chunk.byteLength;
      this.#options.onBytes(chunk.byteLength);
      yield chunk;
    }
    assert(bytes === layer.bytes, 'a source yields what it announces, or throws');
  }
}
