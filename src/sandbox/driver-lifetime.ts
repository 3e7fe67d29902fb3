import { fault } from '../contract/errors.ts';
import { untilAborted } from '../std/abort.ts';

/** The host's part of a driver, the starts under way and the instances: everything that ends with the driver. */
export class DriverLifetime<Platform extends AsyncDisposable> implements AsyncDisposable {
  readonly #open: (closing: AbortSignal) => Promise<Platform>;
  readonly #closing = new AbortController();
  readonly #starting = new Set<Promise<unknown>>();
  readonly #instances = new Set<AsyncDisposableStack>();
  #platform: Promise<Platform> | undefined;

  constructor(open: (closing: AbortSignal) => Promise<Platform>) {
    this.#open = open;
  }

  /** Returns the platform, which is opened when it is first needed. Rejects with DRIVER_UNAVAILABLE. */
  async platform(signal?: AbortSignal): Promise<Platform> {
    this.#closing.signal.throwIfAborted();
    this.#platform ??= this.#open(this.#closing.signal).catch((error: unknown) => {
      // The missing part may exist at the next start.
      this.#platform = undefined;
      throw error;
    });
    return signal === undefined ? this.#platform : untilAborted(this.#platform, signal);
  }

  /** Returns the platform if it was opened. */
  async opened(): Promise<Platform | undefined> {
    return this.#platform?.catch(() => undefined);
  }

  /** Runs a start, which closing the driver aborts and waits for. */
  async start<Started>(begin: (signal: AbortSignal) => Promise<Started>, signal: AbortSignal): Promise<Started> {
    signal.throwIfAborted();
    const starting = begin(AbortSignal.any([signal, this.#closing.signal]));
    this.#starting.add(starting);
    try {
      return await starting;
    } finally {
      this.#starting.delete(starting);
    }
  }

  /** Takes the resources of an instance that was started: closing the driver disposes of them if nobody did before. */
  own(resources: AsyncDisposableStack): void {
    this.#instances.add(resources);
    resources.defer(() => void this.#instances.delete(resources));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(fault('GUEST_LOST', { reason: 'the driver was closed' }));
    await Promise.allSettled(this.#starting);
    await Promise.all([...this.#instances].map(async (resources) => resources.disposeAsync()));
    await (await this.opened())?.[Symbol.asyncDispose]();
  }
}
