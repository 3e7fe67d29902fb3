import { fault } from '../../contract/errors.ts';
import { limits } from '../../contract/limits.ts';
import type { OpenInstance } from './open-instance.ts';

/** Instances of all projects that are open now, by the UUID of their operation. */
export class Instances {
  readonly #open = new Map<string, OpenInstance>();

  /** Number of published ports of each project that has any. */
  readonly #ports = new Map<string, number>();

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

  /** Counts one more published port of a project until the result is disposed. Faults: PORT_LIMIT. */
  takePort(project: string): Disposable {
    const count = this.#ports.get(project) ?? 0;
    const limit = limits.portsPerProjectMax;
    if (count >= limit) throw fault('PORT_LIMIT', { what: 'project', limit });
    this.#ports.set(project, count + 1);
    return { [Symbol.dispose]: () => this.#leavePort(project) };
  }

  #leavePort(project: string): void {
    const left = (this.#ports.get(project) ?? 0) - 1;
    if (left > 0) this.#ports.set(project, left);
    else this.#ports.delete(project);
  }

  /** Asks all instances to end, because the engine stops. */
  leave(): void {
    for (const instance of this.#open.values()) instance.leave();
  }
}
