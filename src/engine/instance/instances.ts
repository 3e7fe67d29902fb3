import type { OpenInstance } from './open-instance.ts';

/** Instances of all projects that are open now, by the UUID of their operation. */
export class Instances {
  readonly #open = new Map<string, OpenInstance>();

  /** Number of open instances. */
  get size(): number {
    return this.#open.size;
  }

  /** Adds an instance; disposing of the result removes it. */
  add(instance: OpenInstance): Disposable {
    this.#open.set(instance.uuid, instance);
    return { [Symbol.dispose]: () => void this.#open.delete(instance.uuid) };
  }

  /** Returns an open instance; the caller has checked whose it is. */
  find(uuid: string): OpenInstance | undefined {
    return this.#open.get(uuid);
  }

  /** Asks all instances to end, because the engine stops. */
  leave(): void {
    for (const instance of this.#open.values()) instance.leave();
  }
}
