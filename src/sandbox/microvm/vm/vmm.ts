import { constants } from 'node:os';
import type { Duplex } from 'node:stream';
import { present } from '../../../std/present.ts';
import { JailedProcess, keep, Tail, WORDS_KEPT } from '../../jailed-process.ts';
import type { HostDevice } from '../host/accelerator.ts';
import type { Cgroup } from '../../host/cgroup.ts';
import type { Identity } from '../../host/identity.ts';
import type { JailFacts } from '../../driver.ts';
import type { Jail, JailLimits } from '../host/jail.ts';
import { liveFacts } from '../../host/live-facts.ts';
import { FD } from './machine.ts';
import { Qmp } from './qmp.ts';

export interface VmmSpec {
  readonly jail: Jail;
  readonly identity: Identity | undefined;
  /** Limits of the jail. A guest that exceeds the file size limit is stopped (`Qmp.writeFailed`). */
  readonly limits: JailLimits;
  readonly device?: HostDevice;
  readonly cgroup?: Cgroup;
  readonly arguments: readonly string[];
  /** Number in QEMU → open descriptor of this process, which may be closed once the constructor returns. */
  readonly descriptors: ReadonlyMap<number, number>;
}

/** End of a QEMU. */
export interface VmmExit {
  /** Text for people. */
  readonly reason: string;
  /** True when the guest stopped or restarted the machine; otherwise QEMU failed. */
  readonly byGuest: boolean;
}

/**
 * One QEMU in its jail, and the host's ends of its sockets.
 *
 * It cannot outlive this process: the kernel kills bubblewrap when its parent, this process, ends, and QEMU when bubblewrap
 * ends. QEMU starts only after both are arranged (`start_inside` in `guest/host-helper/src/confinement.rs`).
 */
export class Vmm implements AsyncDisposable {
  readonly qmp: Qmp;
  readonly agent: Duplex;
  readonly network: Duplex;
  /** Resolves when it is gone; never rejects. */
  readonly ended: Promise<VmmExit>;
  readonly #jail: Jail;
  readonly #process: JailedProcess;
  readonly #console = new Tail(WORDS_KEPT);

  constructor(spec: VmmSpec) {
    const { jail, limits, device, cgroup } = spec;
    const identity = spec.identity && { ...spec.identity, ...(device?.gid === undefined ? {} : { gid: device.gid }) };
    this.#jail = jail;
    this.#process = new JailedProcess({
      command: (descriptors) => {
        const sockets = { info: FD.info, go: FD.go };
        const groups = cgroup?.entrances ?? [];
        return jail.command({ identity, limits, descriptors, sockets, groups, ...present({ device }) }, spec.arguments);
      },
      sockets: [FD.qmp, FD.agent, FD.network, FD.console, FD.info, FD.go],
      info: FD.info,
      descriptors: spec.descriptors,
      release: (process) => {
        const go = process.socket(FD.go);
        // Asked when the jail is set to end with bubblewrap, so an answer from a thread that lives proves that it will.
        go.once('data', () => go.write('\n'));
      },
    });
    this.qmp = new Qmp(this.#process.socket(FD.qmp));
    this.agent = this.#process.socket(FD.agent);
    this.network = this.#process.socket(FD.network);
    const consoleRead = keep(this.#process.socket(FD.console), this.#console);
    this.ended = this.#watch([this.qmp.closed, consoleRead, this.#process.stderrRead]);
  }

  /** Process id of the outer bubblewrap. */
  get pid(): number {
    return this.#process.pid;
  }

  /** Process id, on the host, of pid 1 of the jail; undefined until bubblewrap reports it, or if it never does. */
  get jailPid(): number | undefined {
    return this.#process.jailPid;
  }

  /** Returns the facts about the jail that the kernel reports once QEMU runs; others stay as configured. */
  async jailFacts(): Promise<JailFacts> {
    await this.#process.begun;
    const { jailPid: pid, report } = this.#process;
    if (pid === undefined) return this.#jail.facts;
    return liveFacts(this.#jail.facts, { pid, emptyKeyring: report.startsWith('session keyring: empty;') });
  }

  async #watch(drained: readonly Promise<void>[]): Promise<VmmExit> {
    const { code, signal, error } = await this.#process.exited;
    const how = error?.message ?? signal ?? statusText(code);
    // QEMU's descriptors close after its memory is freed; by then its last messages have arrived too.
    await Promise.all(drained);
    const guestSaid = this.#console.lastMatch(/Kernel panic.*/u) ?? this.#console.lastLines(3);
    const said = [this.#process.stderr.lastLines(2), guestSaid].filter((text) => text !== '');
    const { shutdownReason } = this.qmp;
    const reason = [shutdownReason ?? `QEMU ended: ${how}`, ...said].join('; ');
    return { reason, byGuest: shutdownReason !== undefined };
  }

  /** Ends everything in the jail at once and returns when it is gone. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process.end(this.ended);
  }
}

/** bubblewrap reports a signal that ended its child as a shell does. */
function statusText(code: number | null): string {
  const signal = Object.entries(constants.signals).find(([, number]) => number === (code ?? 0) - 128);
  return signal?.[0] ?? `exit code ${code}`;
}
