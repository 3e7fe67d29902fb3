import type { HostDevice } from '../host/accelerator.ts';
import type { BootHost } from './boot.ts';
import type { Identities } from '../host/identity.ts';
import type { Accelerator, Machine } from '../vm/machine.ts';
import { EMULATED_ATTEMPTS_MS, KVM_ATTEMPTS_MS, makeTemplate } from './make.ts';
import { untilAborted } from '../../../std/abort.ts';
import { type Template, templateKey, type TemplateStore } from './template.ts';

/** Each holds a guest's memory in RAM. */
const LOADED_MAX = 4;

export interface TemplatesOptions {
  readonly host: Omit<BootHost, 'identity' | 'device'>;
  readonly store: TemplateStore;
  readonly identities: Identities;
  readonly deviceOf: (accelerator: Accelerator) => { readonly device?: HostDevice };
  readonly log: (message: string) => void;
}

/** The templates in use, each made or loaded once however many ask for it at the same time. */
export class Templates implements AsyncDisposable {
  readonly #options: TemplatesOptions;
  /** Ends the making, on behalf of everybody who waits for it. */
  readonly #signal: AbortSignal;
  /** By key, least recently used first. */
  readonly #loaded = new Map<string, Promise<Template>>();

  constructor(options: TemplatesOptions, signal: AbortSignal) {
    this.#options = options;
    this.#signal = signal;
  }

  /** Makes the template if there is none. Rejects with GUEST_BOOT_TIMEOUT or DRIVER_UNAVAILABLE; the next call tries again. */
  async get(machine: Machine): Promise<Template> {
    const { host, guest } = this.#options.host;
    const { key } = templateKey(host, guest, machine);
    const known = this.#loaded.get(key);
    const template = known ?? this.#load(machine);
    this.#loaded.delete(key);
    this.#loaded.set(key, template);
    if (known === undefined) {
      template.catch(() => this.#forget(key, template));
      this.#retireOldest();
    }
    return template;
  }

  /** As `get`, and keeps the template's files open until the result is disposed of. */
  async use(machine: Machine, signal: AbortSignal): Promise<AsyncDisposable & { readonly template: Template }> {
    while (true) {
      const template = await untilAborted(this.get(machine), signal);
      const use = template.use();
      // It was retired between the two: so many kinds of machine are asked for at once.
      if (use === undefined) continue;
      const release = async (): Promise<void> => {
        await use[Symbol.asyncDispose]();
        if (await template.hasGrown()) await this.#drop(machine, template);
      };
      return { template, [Symbol.asyncDispose]: release };
    }
  }

  async has(machine: Machine): Promise<boolean> {
    const { host, guest } = this.#options.host;
    return this.#options.store.has(templateKey(host, guest, machine));
  }

  /** One that turned out to be of no use: the next call makes it anew. */
  async discard(machine: Machine, template: Template): Promise<void> {
    const { host, guest } = this.#options.host;
    if (await this.#drop(machine, template)) await this.#options.store.remove(templateKey(host, guest, machine));
  }

  /** Removes from disk what no run of this host, QEMU and guest can use any more, and of the rest all but the most recent. */
  async prune(): Promise<void> {
    const { host, guest } = this.#options.host;
    const kinds = ['kvm', 'emulated'] as const;
    await this.#options.store.prune(
      kinds.map((accelerator) => templateKey(host, guest, { accelerator, cpus: 1, memoryMib: 1 }).base),
    );
  }

  /** Gives its memory back; the next call loads it anew. Returns whether it was in use here. */
  async #drop(machine: Machine, template: Template): Promise<boolean> {
    const { host, guest } = this.#options.host;
    const { key } = templateKey(host, guest, machine);
    const loaded = this.#loaded.get(key);
    if (loaded === undefined || (await loaded) !== template) return false;
    this.#forget(key, loaded);
    await template.retire();
    return true;
  }

  #forget(key: string, template: Promise<Template>): void {
    if (this.#loaded.get(key) === template) this.#loaded.delete(key);
  }

  #retireOldest(): void {
    for (const [key, template] of this.#loaded) {
      if (this.#loaded.size <= LOADED_MAX) return;
      this.#loaded.delete(key);
      void template.then(
        (loaded) => loaded.retire(),
        () => {},
      );
    }
  }

  async #load(machine: Machine): Promise<Template> {
    const { host, store, log } = this.#options;
    const name = templateKey(host.host, host.guest, machine);
    const helper = host.guest.helper.path;
    const found = await store.find(name, helper, this.#signal);
    if (found !== undefined) return found;
    const startedMs = performance.now();
    await this.#make(machine);
    log(
      `made a template (${machine.accelerator}, ${machine.cpus} CPU, ${machine.memoryMib} MiB) in ${Math.round(performance.now() - startedMs)} ms`,
    );
    const made = await store.find(name, helper, this.#signal);
    if (made === undefined) throw new Error('a template that was just published cannot be read');
    return made;
  }

  async #make(machine: Machine): Promise<void> {
    const { host, store, identities, deviceOf, log } = this.#options;
    const attemptsMs = machine.accelerator === 'kvm' ? KVM_ATTEMPTS_MS : EMULATED_ATTEMPTS_MS;
    using identity = identities.take();
    const boot = { ...host, ...deviceOf(machine.accelerator), identity: identity.vm };
    await store.add(templateKey(host.host, host.guest, machine), (folder) =>
      makeTemplate(boot, machine, { folder, attemptsMs, log }, this.#signal),
    );
    await this.prune();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const loaded = await Promise.allSettled(this.#loaded.values());
    this.#loaded.clear();
    await Promise.all(
      loaded.map(async (result) => (result.status === 'fulfilled' ? result.value.retire() : undefined)),
    );
  }
}
