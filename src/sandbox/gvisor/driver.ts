import { mkdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fault, isFault } from '../../contract/errors.ts';
import { limits } from '../../contract/limits.ts';
import { present } from '../../std/present.ts';
import type { BootSpec, DriverCheck, DriverCollection, DriverGarbage, Instance, SandboxDriver } from '../driver.ts';
import { DriverLifetime } from '../driver-lifetime.ts';
import { Identities } from '../host/identity.ts';
import { clearRemains } from '../host/stale-vms.ts';
import type { NetworkOptions } from '../network/index.ts';
import { type GvisorPlatform, openGvisorPlatform } from './platform.ts';
import { explained } from './refusal.ts';
import { startSandbox } from './start.ts';
import { type RunscChoice, firstWorking, forgetTrial, type TrialVerdict } from './trial.ts';

export interface GvisorOptions {
  /** State folder of the driver. */
  readonly stateDir: string;
  /** Folder with the agent and the host's helper, and perhaps runsc. */
  readonly guestDir: string;
  /** Folders in which runsc is looked for first, as in the environment's PATH. */
  readonly path: string;
  /** Private destinations that guests may reach. */
  readonly network?: NetworkOptions;
}

/**
 * Opens the driver that runs images in gVisor sandboxes. Succeeds on hosts that lack something, too: `inspect` says what is
 * missing, and `start` rejects with it.
 */
export async function openGvisorDriver(options: GvisorOptions): Promise<TriedDriver> {
  const scratch = join(options.stateDir, 'tmp');
  await rm(scratch, { recursive: true, force: true });
  await mkdir(scratch, { recursive: true, mode: 0o700 });
  await clearRemains(options.stateDir);
  return new GvisorDriver(options, await Identities.open(options.stateDir));
}

/** A driver that can say whether its sandboxes work on this host. */
export interface TriedDriver extends SandboxDriver {
  /**
   * Runs a program in a sandbox if that was never tried here. With `again` it also does if that failed before. Rejects with
   * DRIVER_UNAVAILABLE if something is missing.
   */
  trial(signal: AbortSignal, options?: { readonly again: boolean }): Promise<TrialVerdict>;
}

const TRIAL = {
  cpus: 1,
  memoryMib: limits.guestMemoryMibMin,
  diskBytes: 16 * 1024 ** 2,
  hostname: 'trial',
  network: { mode: 'public' },
} as const;
const TRIAL_COMMAND = { argv: ['/init', 'trial'], env: {}, cwd: '/', uid: 0, gid: 0, stdin: false } as const;

class GvisorDriver implements TriedDriver {
  readonly name = 'gvisor';
  readonly #options: GvisorOptions;
  readonly #identities: Identities;
  readonly #lifetime: DriverLifetime<GvisorPlatform>;
  /** The runsc that was found by trying; undefined before that, and again when it fails. */
  #choice: RunscChoice | undefined;

  constructor(options: GvisorOptions, identities: Identities) {
    this.#options = options;
    this.#identities = identities;
    const { stateDir, guestDir, path } = options;
    this.#lifetime = new DriverLifetime((closing) =>
      openGvisorPlatform({ stateDir, guestDir, path, identities }, closing),
    );
  }

  async warm(): Promise<void> {
    await this.#lifetime.platform();
  }

  async start(spec: BootSpec, signal: AbortSignal): Promise<Instance> {
    return this.#lifetime.start(async (either) => {
      const { platform } = this.#choice ?? (await this.#choose(either, { again: false }));
      return this.#start(platform, spec, either);
    }, signal);
  }

  async trial(signal: AbortSignal, { again }: { readonly again: boolean } = { again: false }): Promise<TrialVerdict> {
    return (await this.#choose(signal, { again })).verdict;
  }

  async #choose(signal: AbortSignal, options: { readonly again: boolean }): Promise<RunscChoice> {
    const run = async (platform: GvisorPlatform): Promise<void> => {
      const { size: bytes } = await stat(platform.root);
      // The agent's root file system serves as an image with one program. The network is included because it has to work as well.
      const layers = [{ path: platform.root, bytes }];
      const spec = { ...TRIAL, layers };
      await using instance = await this.#lifetime.start((either) => this.#start(platform, spec, either), signal);
      const process = await instance.start({ ...TRIAL_COMMAND }, signal);
      for await (const chunk of process.output) void chunk;
      const { exitCode } = await process.outcome;
      if (exitCode !== 0) throw fault('DRIVER_UNAVAILABLE', { reason: `the program ended with status ${exitCode}` });
    };
    const platform = await this.#lifetime.platform(signal);
    this.#choice = await firstWorking(platform, this.#options.stateDir, run, options);
    return this.#choice;
  }

  async kindOf(): Promise<'gvisor'> {
    return 'gvisor';
  }

  async collect(request: DriverCollection): Promise<DriverGarbage> {
    const platform = await this.#lifetime.opened();
    const nothing = { memoryBytes: 0, diskBytes: 0 };
    return (await platform?.layers.collect(request)) ?? { templates: 0, freed: nothing, used: nothing };
  }

  async inspect(signal: AbortSignal): Promise<DriverCheck[]> {
    try {
      const { platform, verdict } = await this.#choose(signal, { again: true });
      const { runsc, rejected, jail } = platform;
      const { works, reason, remedy } = verdict;
      const { parts, missing } = jail.facts;
      const lacking = missing.length === 0 ? '' : `; missing: ${missing.join(', ')}`;
      const detail = [`runsc ${runsc.version} (${runsc.path}): ${reason}`, ...rejected].join('; ');
      return [
        present({ name: 'gVisor', status: works ? ('ok' as const) : ('failed' as const), detail, remedy }),
        {
          name: 'gVisor jail',
          status: missing.length === 0 ? 'ok' : 'warning',
          detail: `bubblewrap: ${parts.join(', ')}${lacking}`,
        },
      ];
    } catch (error) {
      const { reason: detail = String(error), remedy } = isFault(error) ? error.detail : {};
      return [
        { name: 'gVisor', status: 'failed', detail: String(detail), ...(typeof remedy === 'string' && { remedy }) },
      ];
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#lifetime[Symbol.asyncDispose]();
  }

  async #start(platform: GvisorPlatform, spec: BootSpec, signal: AbortSignal): Promise<Instance> {
    const { network = {} } = this.#options;
    const resources = new AsyncDisposableStack();
    const { vm: identity } = resources.use(this.#identities.take());
    try {
      const instance = await startSandbox(platform, { spec, identity, network }, resources, signal);
      this.#lifetime.own(resources);
      return instance;
    } catch (error) {
      // Before the identity is given to another run.
      const explanation = await explained(error, platform.helper, identity, signal);
      await resources.disposeAsync();
      const works = this.#choice?.verdict.works === true;
      if (works && isFault(explanation, 'DRIVER_UNAVAILABLE', 'GUEST_BOOT_TIMEOUT')) {
        this.#choice = undefined;
        await forgetTrial(this.#options.stateDir);
      }
      throw explanation;
    }
  }
}
