import { spawn, type ChildProcess } from 'node:child_process';
import { constants } from 'node:os';
import type { Duplex, Readable } from 'node:stream';
import { settlesWithin } from '../../../std/abort.ts';
import { defined } from '../../../std/assert.ts';
import { present } from '../../../std/present.ts';
import type { HostDevice } from '../host/accelerator.ts';
import type { Cgroup } from '../host/cgroup.ts';
import type { Identity } from '../host/identity.ts';
import type { Jail, JailFacts, JailLimits } from '../host/jail.ts';
import { liveFacts } from '../host/live-facts.ts';
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

/** Time after which a killed process that has not ended is stuck in the kernel. */
const KILL_MS_MAX = 1_500;
/** Time in which QEMU may report the reason, once its end of the channel is closed. */
const REASON_MS_MAX = 500;
/** Bytes that hold a kernel's last messages with all registers. */
const WORDS_KEPT = 8_192;

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
  /** Process id, on the host, of pid 1 of the jail; undefined until bubblewrap reports it, or if it never does. */
  jailPid: number | undefined;
  /** True when the session keyring holds nothing; known when `jailPid` is. */
  #emptyKeyring = false;
  readonly #jail: Jail;
  readonly #child: ChildProcess;
  /** Resolves when `jailPid` is known, or never will be. */
  readonly #begun: Promise<void>;
  readonly #stderr = new Tail(WORDS_KEPT);
  readonly #console = new Tail(WORDS_KEPT);
  #failure: string | undefined;

  constructor(spec: VmmSpec) {
    const { jail, limits, device, cgroup } = spec;
    const identity = spec.identity && { ...spec.identity, ...(device?.gid === undefined ? {} : { gid: device.gid }) };
    const stdio = stdioOf(spec.descriptors);
    this.#jail = jail;
    const confinement = {
      identity,
      limits,
      descriptors: stdio.length,
      sockets: { info: FD.info, go: FD.go },
      ...present({ device }),
    };
    const [program, ...args] = jail.command(confinement, spec.arguments);
    this.#child = spawn(program, args, { stdio, env: {}, cwd: '/' });
    this.qmp = new Qmp(this.#socket(FD.qmp));
    this.agent = this.#socket(FD.agent);
    this.network = this.#socket(FD.network);
    const words = [
      keep(this.#socket(FD.console), this.#console),
      keep(defined(this.#child.stderr, 'stderr is a pipe'), this.#stderr),
    ];
    this.ended = this.#watch([this.qmp.closed, ...words]);
    this.#begun = this.#begin(cgroup);
  }

  /** Process id of the outer bubblewrap. */
  get pid(): number {
    return defined(this.#child.pid, 'the process was started');
  }

  /** Returns the facts about the jail that the kernel reports once QEMU runs; others stay as configured. */
  async jailFacts(): Promise<JailFacts> {
    await this.#begun;
    if (this.jailPid === undefined) return this.#jail.facts;
    return liveFacts(this.#jail.facts, { pid: this.jailPid, emptyKeyring: this.#emptyKeyring });
  }

  #socket(number: number): Duplex {
    const socket = defined(this.#child.stdio[number], 'the descriptor is a socket') as Duplex;
    // `ended` says why a socket broke.
    return socket.on('error', () => {});
  }

  /** Reads the jail's pid, sets its limits and then lets it start QEMU. */
  async #begin(cgroup: Cgroup | undefined): Promise<void> {
    const words = new Tail(WORDS_KEPT);
    // Read to the end: if bubblewrap could not write all of it, it would die and its child would wait forever.
    await keep(this.#socket(FD.info), words);
    const told = words.lastLines(WORDS_KEPT);
    const pid = /"child-pid": (\d+)/u.exec(told)?.[1];
    this.jailPid = pid === undefined ? undefined : Number(pid);
    this.#emptyKeyring = told.startsWith('session keyring: empty;');
    if (this.jailPid === undefined) return;
    try {
      await cgroup?.add([this.pid, this.jailPid]);
      // It stays open to show the jail that the engine is alive.
      this.#socket(FD.go).write('\n');
    } catch (error) {
      this.#failure = `its limits cannot be set: ${String(error)}`;
      this.#kill(this.jailPid);
    }
  }

  async #watch(drained: readonly Promise<void>[]): Promise<VmmExit> {
    const { promise, resolve } = Promise.withResolvers<string>();
    this.#child.once('error', (error) => resolve(error.message));
    this.#child.once('exit', (code, signal) => resolve(signal ?? statusOf(code)));
    const how = await promise;
    // QEMU's descriptors close after its memory is freed; by then its last messages have arrived too.
    await Promise.all(drained);
    const guestSaid = this.#console.lastMatch(/Kernel panic.*/u) ?? this.#console.lastLines(3);
    const said = [this.#stderr.lastLines(2), guestSaid].filter((text) => text !== '');
    const { shutdownReason } = this.qmp;
    const reason = [this.#failure ?? shutdownReason ?? `QEMU ended: ${how}`, ...said].join('; ');
    return { reason, byGuest: shutdownReason !== undefined };
  }

  /** Ends everything in the jail at once and returns when it is gone. */
  async [Symbol.asyncDispose](): Promise<void> {
    const { promise: tooLate, resolve } = Promise.withResolvers<void>();
    const timers = [setTimeout(() => this.#kill(this.pid), KILL_MS_MAX / 2), setTimeout(resolve, KILL_MS_MAX)];
    // A bubblewrap killed while it sets up its child leaves the child waiting forever; a few milliseconds later it does not.
    await Promise.race([this.#begun, tooLate]);
    this.#kill(this.jailPid ?? this.pid);
    await Promise.race([this.ended, tooLate]);
    for (const timer of timers) clearTimeout(timer);
    for (const stream of this.#child.stdio) stream?.destroy();
  }

  #kill(pid: number): void {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It is gone already.
    }
  }
}

/** Returns how QEMU ended, if it does soon after its end of the channel was closed. */
export async function exitSoon(vmm: Vmm): Promise<VmmExit | undefined> {
  return (await settlesWithin(vmm.ended, REASON_MS_MAX)) ? await vmm.ended : undefined;
}

/** bubblewrap reports a signal that ended its child as a shell does. */
function statusOf(code: number | null): string {
  const signal = Object.entries(constants.signals).find(([, number]) => number === (code ?? 0) - 128);
  return signal?.[0] ?? `exit code ${code}`;
}

function stdioOf(descriptors: ReadonlyMap<number, number>): ('ignore' | 'pipe' | number)[] {
  const sockets: readonly number[] = [FD.qmp, FD.agent, FD.network, FD.console, FD.info, FD.go];
  const last = Math.max(...sockets, ...descriptors.keys());
  return Array.from({ length: last + 1 }, (_, number) => {
    if (number < 2) return 'ignore';
    if (number === 2 || sockets.includes(number)) return 'pipe';
    return descriptors.get(number) ?? 'ignore';
  });
}

/** Reads to the end; resolves there. */
async function keep(stream: Readable, tail: Tail): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  stream.on('data', (chunk: Buffer) => tail.push(chunk));
  stream.on('error', () => {});
  stream.once('close', resolve);
  return promise;
}

/** The last bytes of a stream that may be endless, as text for an error message. */
export class Tail {
  readonly #bytesMax: number;
  #kept = Buffer.alloc(0);

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  push(chunk: Buffer): void {
    const joined = Buffer.concat([this.#kept, chunk.subarray(-this.#bytesMax)]);
    this.#kept = Buffer.from(joined.subarray(-this.#bytesMax));
  }

  /** Returns the last `count` lines with text. */
  lastLines(count: number): string {
    return this.#lines().slice(-count).join('; ');
  }

  /** Returns the last line that contains the searched text, from that text on. */
  lastMatch(pattern: RegExp): string | undefined {
    return this.#lines()
      .map((line) => pattern.exec(line)?.[0])
      .findLast((match) => match !== undefined);
  }

  /** Returns printable ASCII only, because the writer may be hostile. */
  #lines(): string[] {
    const lines = this.#kept.toString('latin1').split('\n');
    return lines.map((line) => line.replaceAll(/[^ -~]/gu, '').trim()).filter((line) => line !== '');
  }
}
