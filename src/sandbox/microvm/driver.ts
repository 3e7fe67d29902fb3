import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { isFault } from '../../contract/errors.ts';
import type { BootSpec, DriverCheck, DriverCollection, DriverGarbage, Instance, SandboxDriver } from '../driver.ts';
import { DriverLifetime } from '../driver-lifetime.ts';
import { type AcceleratorSetting, forgetAccelerator, type Verdict } from './host/accelerator.ts';
import { Identities } from '../host/identity.ts';
import { clearRemains } from '../host/stale-vms.ts';
import { inspectHost } from './host/inspect.ts';
import type { Machine } from './vm/machine.ts';
import type { NetworkOptions } from '../network/index.ts';
import { HostPlatform } from './host/platform.ts';
import { restore } from './vm/restore.ts';

export interface MicrovmOptions {
  /** State folder of the driver: templates, and files that live as long as a run. */
  readonly stateDir: string;
  /** Folder with the guest kernel and agent. */
  readonly guestDir: string;
  readonly accelerator: AcceleratorSetting;
  readonly log: (message: string) => void;
  /** Private destinations that guests may reach. */
  readonly network?: NetworkOptions;
}

/**
 * Opens the driver that runs images in QEMU microVMs. Also succeeds on hosts that lack something, so that images can be
 * inspected there: `inspect` reports what is missing, and `start` rejects with it.
 */
export async function openMicrovmDriver(options: MicrovmOptions): Promise<AcceleratedDriver> {
  const scratch = join(options.stateDir, 'tmp');
  // Files that a killed engine left; its QEMUs died with it.
  await rm(scratch, { recursive: true, force: true });
  await mkdir(scratch, { recursive: true, mode: 0o700 });
  await mkdir(join(options.stateDir, 'templates'), { recursive: true, mode: 0o700 });
  await clearRemains(options.stateDir);
  return new MicrovmDriver(options, await Identities.open(options.stateDir));
}

/** A driver that can say how its guests run on this host. */
export interface AcceleratedDriver extends SandboxDriver {
  /** Boots a guest if KVM was never tried on this host. Rejects with DRIVER_UNAVAILABLE where no guest runs. */
  verdict(signal: AbortSignal): Promise<Verdict>;
}

class MicrovmDriver implements AcceleratedDriver {
  readonly name = 'microvm';
  readonly #options: MicrovmOptions;
  readonly #identities: Identities;
  readonly #lifetime: DriverLifetime<HostPlatform>;

  constructor(options: MicrovmOptions, identities: Identities) {
    this.#options = options;
    this.#identities = identities;
    this.#lifetime = new DriverLifetime((closing) => HostPlatform.open(options, identities, closing));
  }

  async warm(): Promise<void> {
    await (await this.#lifetime.platform()).warm();
  }

  async start(spec: BootSpec, signal: AbortSignal): Promise<Instance> {
    return this.#lifetime.start((either) => this.#start(spec, either), signal);
  }

  async verdict(signal: AbortSignal): Promise<Verdict> {
    return (await this.#lifetime.platform(signal)).parts.verdict;
  }

  async kindOf(): Promise<'microvm'> {
    return 'microvm';
  }

  async collect(request: DriverCollection): Promise<DriverGarbage> {
    const platform = await this.#lifetime.opened();
    const nothing = { memoryBytes: 0, diskBytes: 0 };
    return (await platform?.collect(request)) ?? { templates: 0, freed: nothing, used: nothing };
  }

  async inspect(signal: AbortSignal): Promise<DriverCheck[]> {
    const platform = this.#lifetime.platform(signal);
    return inspectHost(platform);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#lifetime[Symbol.asyncDispose]();
  }

  async #start(spec: BootSpec, signal: AbortSignal): Promise<Instance> {
    const platform = await this.#lifetime.platform(signal);
    const machine = platform.machine(spec.cpus, spec.memoryMib);
    try {
      return await this.#restore(platform, machine, spec, signal);
    } catch (error) {
      // KVM was chosen because a guest once ran with it, but the abilities of a host may change.
      if (machine.accelerator === 'kvm' && isRestoreFailure(error)) await forgetAccelerator(this.#options.stateDir);
      throw error;
    }
  }

  /**
   * Restores a template over the image. A restore that fails is tried once more, because no command has run yet: with a new
   * template, unless QEMU has continued this one before.
   */
  async #restore(platform: HostPlatform, machine: Machine, spec: BootSpec, signal: AbortSignal): Promise<Instance> {
    const { log, network = {} } = this.#options;
    const { templates } = platform.parts;
    for (let attempt = 1; ; attempt += 1) {
      const resources = new AsyncDisposableStack();
      // First, so that it is released last: the run has mapped its memory.
      const { template } = resources.use(await templates.use(machine, signal));
      try {
        const { vm: identity } = resources.use(this.#identities.take());
        const run = { machine, template, spec, identity, network };
        const instance = await restore(platform.parts, run, resources, signal);
        this.#lifetime.own(resources);
        return instance;
      } catch (error) {
        await resources.disposeAsync();
        if (signal.aborted || attempt > 1 || !isRestoreFailure(error)) throw error;
        log(`a restore failed and is tried again: ${error.message}`);
        if (!template.proven) await templates.discard(machine, template);
      }
    }
  }
}

/** Reports whether an error is caused by the host or the template, not by the image. */
function isRestoreFailure(error: unknown): error is Error {
  return isFault(error, 'DRIVER_UNAVAILABLE', 'GUEST_BOOT_TIMEOUT');
}
