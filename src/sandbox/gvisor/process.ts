import { spawn, type ChildProcess } from 'node:child_process';
import type { Duplex, Readable } from 'node:stream';
import { defined } from '../../std/assert.ts';
import type { Cgroup } from '../microvm/host/cgroup.ts';
import { Tail } from '../microvm/vm/vmm.ts';
import { SANDBOX_FD, runtimeSpec, sentryFlags } from './bundle.ts';
import type { SandboxJail, SandboxJailSpec } from './jail.ts';

export interface SandboxProcessSpec extends Omit<SandboxJailSpec, 'descriptors' | 'blocked'> {
  readonly jail: SandboxJail;
  readonly cgroup: Cgroup | undefined;
  /** Number in the jail → open descriptor of this process, which may be closed once the constructor returns. */
  readonly descriptors: ReadonlyMap<number, number>;
}

/** Time after which a killed process that has not ended is stuck in the kernel. */
const KILL_MS_MAX = 1_500;
const WORDS_KEPT = 8_192;
const REASON_MS_MAX = 500;

/**
 * One gVisor sandbox in its jail, and the host's ends of its sockets.
 *
 * It cannot outlive this process: bubblewrap kills it when its parent dies, and everything in it lives in the PID namespace of
 * its first process. The process tree is bubblewrap → helper (pid 1 inside) → runsc → sandbox process → stubs.
 */
export class SandboxProcess implements AsyncDisposable {
  readonly agent: Duplex;
  readonly frames: Duplex;
  /** Resolves with the reason when it is gone; never rejects. */
  readonly ended: Promise<string>;
  /** Process id, on the host, of pid 1 of the jail; undefined until bubblewrap reports it, or if it never does. */
  jailPid: number | undefined;
  readonly #child: ChildProcess;
  readonly #begun: Promise<void>;
  readonly #stderr = new Tail(WORDS_KEPT);
  #failure: string | undefined;

  constructor(spec: SandboxProcessSpec) {
    const { jail, cgroup, descriptors, shape } = spec;
    const stdio = stdioOf(descriptors);
    const command = jail.command({ ...spec, descriptors: stdio.length, blocked: cgroup !== undefined });
    const [program, ...args] = command;
    this.#child = spawn(program, args, { stdio, env: {}, cwd: '/' });
    this.agent = this.#socket(SANDBOX_FD.agent);
    this.frames = this.#socket(SANDBOX_FD.frames);
    this.#socket(SANDBOX_FD.spec).end(JSON.stringify(runtimeSpec(shape)));
    this.#socket(SANDBOX_FD.flags).end(sentryFlags(shape));
    const words = keep(defined(this.#child.stderr, 'stderr is a pipe'), this.#stderr);
    this.ended = this.#watch(words);
    this.#begun = this.#begin(cgroup);
  }

  /** Process id of the outer bubblewrap. */
  get pid(): number {
    return defined(this.#child.pid, 'the process was started');
  }

  /** Returns the reason of its end, if it has ended or is about to. */
  async exitSoon(): Promise<string | undefined> {
    const { promise: late, resolve } = Promise.withResolvers<undefined>();
    const timer = setTimeout(() => resolve(undefined), REASON_MS_MAX);
    const ended = await Promise.race([this.ended, late]);
    clearTimeout(timer);
    return ended;
  }

  #socket(number: number): Duplex {
    const socket = defined(this.#child.stdio[number], 'the descriptor is a socket') as Duplex;
    // `ended` says why a socket broke.
    return socket.on('error', () => {});
  }

  /** Reads the jail's pid, sets its limits and then lets it start. */
  async #begin(cgroup: Cgroup | undefined): Promise<void> {
    const words = new Tail(WORDS_KEPT);
    await keep(this.#socket(SANDBOX_FD.info), words);
    const pid = /"child-pid": (\d+)/u.exec(words.lastLines(WORDS_KEPT))?.[1];
    this.jailPid = pid === undefined ? undefined : Number(pid);
    if (cgroup === undefined || this.jailPid === undefined) return;
    try {
      await cgroup.add([this.pid, this.jailPid]);
      this.#socket(SANDBOX_FD.block).end('\n');
    } catch (error) {
      this.#failure = `its limits cannot be set: ${String(error)}`;
      this.#kill(this.jailPid);
    }
  }

  async #watch(drained: Promise<void>): Promise<string> {
    const { promise, resolve } = Promise.withResolvers<string>();
    this.#child.once('error', (error) => resolve(error.message));
    this.#child.once('exit', (code, signal) => resolve(signal ?? `status ${code}`));
    const how = await promise;
    await drained;
    const said = this.#stderr.lastLines(2);
    return [this.#failure ?? `the sandbox ended: ${how}`, ...(said === '' ? [] : [said])].join('; ');
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

type Stdio = 'ignore' | 'pipe' | number;

/** Returns stdio for all numbers up to the highest: `ignore` is /dev/null, `pipe` a socket to this process. */
function stdioOf(descriptors: ReadonlyMap<number, number>): Stdio[] {
  const sockets: readonly number[] = [
    2,
    SANDBOX_FD.agent,
    SANDBOX_FD.frames,
    SANDBOX_FD.info,
    SANDBOX_FD.block,
    SANDBOX_FD.spec,
    SANDBOX_FD.flags,
  ];
  const last = Math.max(...sockets, ...descriptors.keys());
  return Array.from({ length: last + 1 }, (_, number) => {
    if (sockets.includes(number)) return 'pipe';
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
