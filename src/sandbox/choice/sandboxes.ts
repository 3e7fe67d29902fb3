import { fault, isFault } from '../../contract/errors.ts';
import type {
  BootSpec,
  DriverCheck,
  DriverCollection,
  DriverGarbage,
  Instance,
  MemoryAndDisk,
  SandboxChoice,
  SandboxDriver,
  SandboxKind,
} from '../driver.ts';

/** Result of trying whether guests of a sandbox run at native speed on this host. */
export interface NativeVerdict {
  readonly native: boolean;
  /** Text for people: what was tried, and the result. */
  readonly reason: string;
  /** Next step where guests are not native, if one is known. */
  readonly remedy?: string | undefined;
}

/** A sandbox that runs may get. */
export interface SandboxCandidate {
  readonly kind: SandboxKind;
  readonly driver: SandboxDriver;
  /** Tries the sandbox where that was not done before. Rejects with DRIVER_UNAVAILABLE where it does not work at all. */
  tryNative(signal: AbortSignal): Promise<NativeVerdict>;
}

export interface SandboxesOptions {
  /** In order of preference. The first that is native is taken for `auto`, else the first. */
  readonly candidates: readonly [SandboxCandidate, ...SandboxCandidate[]];
  /** Sandbox of runs that do not name one. */
  readonly setting: SandboxChoice;
  readonly log: (message: string) => void;
}

interface Choice {
  readonly candidate: SandboxCandidate;
  /** Text for people: which sandbox, and why. */
  readonly summary: string;
  /** Steps that would make runs faster, where nothing is native. */
  readonly remedies?: readonly string[];
}

/** Returns one driver that starts each run in the sandbox it asked for, or in the best of this host. Owns the drivers. */
export function openSandboxes(options: SandboxesOptions): SandboxDriver {
  return new Sandboxes(options);
}

class Sandboxes implements SandboxDriver {
  readonly name = 'sandboxes';
  readonly #options: SandboxesOptions;
  readonly #closing = new AbortController();
  #choice: Promise<Choice> | undefined;

  constructor(options: SandboxesOptions) {
    this.#options = options;
  }

  async warm(): Promise<void> {
    const { candidate } = await this.#resolve(this.#options.setting);
    await candidate.driver.warm();
  }

  async start(spec: BootSpec, signal: AbortSignal): Promise<Instance> {
    signal.throwIfAborted();
    const asked = spec.sandbox ?? this.#options.setting;
    const { candidate } = await this.#resolve(asked);
    try {
      return await candidate.driver.start(spec, signal);
    } catch (error) {
      const [usual] = this.#options.candidates;
      const failed = isFault(error, 'DRIVER_UNAVAILABLE', 'GUEST_BOOT_TIMEOUT');
      if (asked !== 'auto' || candidate === usual || signal.aborted || !failed) throw error;
      this.#options.log(`${candidate.kind} did not start, the run gets ${usual.kind}: ${error.message}`);
      // The next run has it tried again.
      this.#choice = undefined;
      return await usual.driver.start(spec, signal);
    }
  }

  async kindOf(asked: SandboxChoice = this.#options.setting): Promise<SandboxKind> {
    return (await this.#resolve(asked)).candidate.kind;
  }

  async collect(request: DriverCollection): Promise<DriverGarbage> {
    const garbage = await Promise.all(this.#options.candidates.map(({ driver }) => driver.collect(request)));
    return garbage.reduce((sum, one) => ({
      templates: sum.templates + one.templates,
      freed: added(sum.freed, one.freed),
      used: added(sum.used, one.used),
    }));
  }

  /**
   * Returns the checks of all sandboxes; one that runs do not get here may be missing. Where nothing was native, it is tried
   * again, because something may have been installed since then.
   */
  async inspect(signal: AbortSignal): Promise<DriverCheck[]> {
    const { candidates, setting } = this.#options;
    const checks = await Promise.all(
      candidates.map(async ({ kind, driver }) => ({ kind, own: await driver.inspect(signal) })),
    );
    const before = await this.#choice?.catch(() => undefined);
    if (before?.remedies !== undefined) this.#choice = undefined;
    const choice = await this.#resolve(setting).catch(() => undefined);
    const shown = checks.flatMap(({ kind, own }) => {
      const needed = choice === undefined || choice.candidate.kind === kind;
      return own.map((check) =>
        check.status === 'failed' && !needed ? { ...check, status: 'warning' as const } : check,
      );
    });
    return choice === undefined ? shown : [checkOf(choice), ...shown];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(fault('GUEST_LOST', { reason: 'the driver was closed' }));
    await Promise.all(this.#options.candidates.map(({ driver }) => driver[Symbol.asyncDispose]()));
  }

  async #resolve(asked: SandboxChoice): Promise<Choice> {
    if (asked !== 'auto') return { candidate: this.#candidate(asked), summary: `${asked} (chosen by a setting)` };
    this.#choice ??= this.#choose().catch((error: unknown) => {
      this.#choice = undefined;
      throw error;
    });
    return this.#choice;
  }

  #candidate(kind: SandboxKind): SandboxCandidate {
    const found = this.#options.candidates.find((candidate) => candidate.kind === kind);
    if (found === undefined) throw fault('DRIVER_UNAVAILABLE', { reason: `this engine has no sandbox ${kind}` });
    return found;
  }

  async #choose(): Promise<Choice> {
    const { candidates, log } = this.#options;
    const reasons: string[] = [];
    const remedies: string[] = [];
    let choice: Choice | undefined;
    for (const candidate of candidates) {
      const { native, reason, remedy } = await this.#tried(candidate);
      reasons.push(`${candidate.kind}: ${reason}`);
      if (remedy !== undefined) remedies.push(remedy);
      if (native) choice ??= { candidate, summary: `${candidate.kind} (${reasons.join('; ')})` };
      if (choice !== undefined) break;
    }
    const [usual] = candidates;
    choice ??= {
      candidate: usual,
      summary: `${usual.kind}: nothing faster works here (${reasons.join('; ')})`,
      remedies,
    };
    const faster = choice.remedies === undefined ? '' : `; to make runs faster, ${choice.remedies.join(', or ')}`;
    log(`runs get the sandbox ${choice.summary}${faster}`);
    return choice;
  }

  async #tried(candidate: SandboxCandidate): Promise<NativeVerdict> {
    try {
      return await candidate.tryNative(this.#closing.signal);
    } catch (error) {
      this.#closing.signal.throwIfAborted();
      if (isFault(error)) {
        const { reason = error.message, remedy } = error.detail;
        return { native: false, reason: String(reason), remedy: remedy === undefined ? undefined : String(remedy) };
      }
      // A bug in trying one sandbox keeps no run from another.
      this.#options.log(`trying ${candidate.kind} failed: ${String(error)}`);
      return { native: false, reason: 'it could not be tried' };
    }
  }
}

function checkOf({ summary, remedies }: Choice): DriverCheck {
  const check = { name: 'sandbox', detail: summary };
  if (remedies === undefined || remedies.length === 0) return { ...check, status: 'ok' };
  return { ...check, status: 'warning', remedy: `to make runs faster, ${remedies.join(', or ')}` };
}

function added(left: MemoryAndDisk, right: MemoryAndDisk): MemoryAndDisk {
  return { memoryBytes: left.memoryBytes + right.memoryBytes, diskBytes: left.diskBytes + right.diskBytes };
}
