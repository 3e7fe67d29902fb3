import type { HostDevice } from '../host/accelerator.ts';
import type { BootHost } from './boot.ts';
import type { Identities } from '../../host/identity.ts';
import type { Accelerator, Machine } from '../vm/machine.ts';
import { EMULATED_STALLS_MS, KVM_STALLS_MS, makeTemplate } from './make.ts';
import { untilAborted } from '../../../std/abort.ts';
import { type StoredTemplate, type Template, type TemplateKey, templateKey, type TemplateStore } from './template.ts';
import type { DriverCollection, DriverGarbage } from '../../driver.ts';

/** Number of loaded templates; each holds a guest's memory in RAM. */
const LOADED_MAX = 4;

export interface TemplatesOptions {
  readonly host: Omit<BootHost, 'identity' | 'device'>;
  readonly store: TemplateStore;
  readonly identities: Identities;
  readonly deviceOf: (accelerator: Accelerator) => { readonly device?: HostDevice };
  readonly log: (message: string) => void;
}

/** The templates in use. Each is made or loaded once, however many callers request it at the same time. */
export class Templates implements AsyncDisposable {
  readonly #options: TemplatesOptions;
  /** Signal that aborts the making of templates for all callers that wait for them. */
  readonly #signal: AbortSignal;
  /** Loaded templates by key, least recently used first. */
  readonly #loaded = new Map<string, Promise<Template>>();
  /** Templates that get no new guests but still have running ones. */
  readonly #retired = new Set<Template>();

  constructor(options: TemplatesOptions, signal: AbortSignal) {
    this.#options = options;
    this.#signal = signal;
  }

  /** Makes the template if there is none. Rejects with GUEST_BOOT_TIMEOUT or DRIVER_UNAVAILABLE; the next call tries again. */
  async get(machine: Machine): Promise<Template> {
    const { key } = this.#nameOf(machine);
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

  /** Does the same as `get`, and keeps the template's files open until the result is disposed of. */
  async use(machine: Machine, signal: AbortSignal): Promise<AsyncDisposable & { readonly template: Template }> {
    while (true) {
      const template = await untilAborted(this.get(machine), signal);
      await this.#renewGrown(template);
      const use = template.use();
      // It was retired because it has grown, or because many kinds of machine are requested at once.
      if (use === undefined) continue;
      const release = async (): Promise<void> => {
        await use[Symbol.asyncDispose]();
        if (template.isIdle) await this.#renewGrown(template);
      };
      return { template, [Symbol.asyncDispose]: release };
    }
  }

  async has(machine: Machine): Promise<boolean> {
    return this.#options.store.has(this.#nameOf(machine));
  }

  /** Discards a template that does not work; the next call makes it again. */
  async discard(machine: Machine, template: Template): Promise<void> {
    if (await this.#drop(template)) await this.#options.store.remove(this.#nameOf(machine));
  }

  /** Releases templates that no run uses: from memory, and from disk all but the `usual` one. */
  async collect(request: DriverCollection, usual: Machine): Promise<DriverGarbage> {
    const { memoryUnusedSinceMs, filesUnusedSinceMs, dryRun } = request;
    const present = await this.#present();
    const idle = present.filter(({ isIdle, usedMs }) => isIdle && usedMs < memoryUnusedSinceMs);
    const released = new Map(idle.map(({ key, usedMs }) => [key, usedMs]));
    const [freedMemory, allMemory] = await Promise.all([memoryOf(idle), memoryOf([...present, ...this.#retired])]);
    const stored = await this.#options.store.list();
    const isUnused = ({ key, usedMs }: StoredTemplate): boolean =>
      key !== this.#nameOf(usual).key &&
      (released.has(key) || !this.#loaded.has(key)) &&
      (released.get(key) ?? usedMs) < filesUnusedSinceMs;
    const unused = stored.filter(isUnused);
    if (!dryRun) {
      for (const template of idle) await this.#drop(template);
      for (const name of unused) await this.#options.store.remove(name);
    }
    const [freedDisk, allDisk] = [bytesOf(unused), bytesOf(stored)];
    return {
      templates: new Set([...idle, ...unused].map(({ key }) => key)).size,
      freed: { memoryBytes: freedMemory, diskBytes: freedDisk },
      used: { memoryBytes: allMemory - freedMemory, diskBytes: allDisk - freedDisk },
    };
  }

  /** Removes templates from disk that this host, QEMU and guest can no longer use, and all but the most recent of the others. */
  async prune(): Promise<void> {
    const kinds = ['kvm', 'emulated'] as const;
    await this.#options.store.prune(
      kinds.map((accelerator) => this.#nameOf({ accelerator, cpus: 1, memoryMib: 1 }).base),
    );
  }

  #nameOf(machine: Machine): TemplateKey {
    const { host, guest } = this.#options.host;
    return templateKey(host, guest, machine);
  }

  /** Returns the templates that are loaded, without waiting for those that are being made. */
  async #present(): Promise<Template[]> {
    const loading = [...this.#loaded.values()].map((template) => Promise.race([template, Promise.resolve()]));
    const loaded = await Promise.allSettled(loading);
    return loaded.flatMap((result) => (result.status === 'fulfilled' && result.value ? [result.value] : []));
  }

  /**
   * Makes the next run load a new copy of a template whose memory has grown much. Its guests keep the old one;
   * there is at most one such predecessor, so a template takes at most twice a guest's memory.
   */
  async #renewGrown(template: Template): Promise<void> {
    const hasPredecessor = [...this.#retired].some(({ key }) => key === template.key);
    if (hasPredecessor && !template.isIdle) return;
    if (await template.hasGrown()) await this.#drop(template);
  }

  /** Releases its memory after its last run; the next call loads it again. Returns whether it was in use here. */
  async #drop(template: Template): Promise<boolean> {
    const loaded = this.#loaded.get(template.key);
    if (loaded === undefined || (await loaded) !== template) return false;
    this.#forget(template.key, loaded);
    await this.#retire(template);
    return true;
  }

  async #retire(template: Template): Promise<void> {
    this.#retired.add(template);
    void template.closed.then(() => this.#retired.delete(template));
    await template.retire();
  }

  #forget(key: string, template: Promise<Template>): void {
    if (this.#loaded.get(key) === template) this.#loaded.delete(key);
  }

  #retireOldest(): void {
    for (const [key, template] of this.#loaded) {
      if (this.#loaded.size <= LOADED_MAX) return;
      this.#loaded.delete(key);
      void template.then(
        (loaded) => this.#retire(loaded),
        () => {},
      );
    }
  }

  async #load(machine: Machine): Promise<Template> {
    const { host, store, log } = this.#options;
    const name = this.#nameOf(machine);
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
    const stallsMs = machine.accelerator === 'kvm' ? KVM_STALLS_MS : EMULATED_STALLS_MS;
    using identity = identities.take();
    const boot = { ...host, ...deviceOf(machine.accelerator), identity: identity.vm };
    await store.add(this.#nameOf(machine), (folder) =>
      makeTemplate(boot, machine, { folder, stallsMs, log }, this.#signal),
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

async function memoryOf(templates: readonly Template[]): Promise<number> {
  const taken = await Promise.all(templates.map((template) => template.memoryBytes()));
  return taken.reduce((sum, bytes) => sum + bytes, 0);
}

function bytesOf(templates: readonly StoredTemplate[]): number {
  return templates.reduce((sum, { bytes }) => sum + bytes, 0);
}
