import { spawn, type ChildProcess } from 'node:child_process';
import type { Duplex, Readable } from 'node:stream';
import { settlesWithin } from '../std/abort.ts';
import { defined } from '../std/assert.ts';

/** Time after which a killed process that has not ended is stuck in the kernel. */
const KILL_MS_MAX = 1_500;
/** Time in which a guest's program may report the reason, once its end of the channel is closed. */
const REASON_MS_MAX = 500;
/** Bytes that hold a kernel's last messages with all registers. */
export const WORDS_KEPT = 8_192;

export interface JailedProcessSpec {
  /** Returns the command line of bubblewrap, given the number of descriptors that it inherits. */
  readonly command: (descriptors: number) => readonly string[];
  /** Numbers of the descriptors that are sockets to this process. Standard error is one, too. */
  readonly sockets: readonly number[];
  /** The socket on which bubblewrap reports its child. */
  readonly info: number;
  /** Number in the jail → open descriptor of this process, which may be closed once the constructor returns. */
  readonly descriptors: ReadonlyMap<number, number>;
  /** Called when the jail's pid is known; lets a jail start that waits for it. */
  readonly release?: (process: JailedProcess) => void;
}

/** Status of a process that ended, or the error for which it did not start. */
export interface ProcessStatus {
  readonly code: number | null;
  readonly signal: string | null;
  readonly error?: Error;
}

/**
 * A bubblewrap, the host's ends of its sockets, and pid 1 of its jail, with which everything in the jail ends. bubblewrap is
 * started so that the kernel kills it when this process ends.
 */
export class JailedProcess {
  /** Process id, on the host, of pid 1 of the jail; undefined until bubblewrap reports it, or if it never does. */
  jailPid: number | undefined;
  /** Text that bubblewrap and the jail's first process reported before the start. */
  report = '';
  /** Resolves when `jailPid` is known, or never will be. */
  readonly begun: Promise<void>;
  readonly exited: Promise<ProcessStatus>;
  readonly stderr: Tail = new Tail(WORDS_KEPT);
  /** Resolves when standard error was read to its end. */
  readonly stderrRead: Promise<void>;
  readonly #child: ChildProcess;

  constructor({ command, sockets, info, descriptors, release }: JailedProcessSpec) {
    const stdio = stdioOf([2, ...sockets], descriptors);
    const [program = '', ...args] = command(stdio.length);
    this.#child = spawn(program, args, { stdio, env: {}, cwd: '/' });
    this.exited = statusOf(this.#child);
    this.stderrRead = keep(defined(this.#child.stderr, 'stderr is a pipe'), this.stderr);
    this.begun = this.#begin(info, release);
  }

  /** Process id of the outer bubblewrap. */
  get pid(): number {
    return defined(this.#child.pid, 'the process was started');
  }

  /** Returns the host's end of a socket. */
  socket(number: number): Duplex {
    const socket = defined(this.#child.stdio[number], 'the descriptor is a socket') as Duplex;
    // The end of the process says why a socket broke.
    return socket.on('error', () => {});
  }

  /** Ends everything in the jail at once. Returns once `ended` has settled, or the processes are stuck. */
  async end(ended: Promise<unknown>): Promise<void> {
    const { promise: tooLate, resolve } = Promise.withResolvers<void>();
    const timers = [setTimeout(() => this.#kill(this.pid), KILL_MS_MAX / 2), setTimeout(resolve, KILL_MS_MAX)];
    // A bubblewrap killed while it sets up its child leaves the child waiting forever; a few milliseconds later it does not.
    await Promise.race([this.begun, tooLate]);
    this.#kill(this.jailPid ?? this.pid);
    await Promise.race([ended, tooLate]);
    for (const timer of timers) clearTimeout(timer);
    for (const stream of this.#child.stdio) stream?.destroy();
  }

  /** Reads the jail's pid, then releases the jail. */
  async #begin(info: number, release: JailedProcessSpec['release']): Promise<void> {
    const words = new Tail(WORDS_KEPT);
    // Read to the end: if bubblewrap could not write all of it, it would die and its child would wait forever.
    await keep(this.socket(info), words);
    this.report = words.lastLines(WORDS_KEPT);
    const pid = /"child-pid": (\d+)/u.exec(this.report)?.[1];
    if (pid === undefined) return;
    this.jailPid = Number(pid);
    release?.(this);
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

/** Returns the end of a process if it comes soon, as it does after its end of the channel was closed. */
export async function endedSoon<End>(ended: Promise<End>): Promise<End | undefined> {
  return (await settlesWithin(ended, REASON_MS_MAX)) ? await ended : undefined;
}

/** Keeps the last words of a stream; resolves at its end. */
export async function keep(stream: Readable, tail: Tail): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  stream.on('data', (chunk: Buffer) => tail.push(chunk));
  stream.on('error', () => {});
  stream.once('close', resolve);
  return promise;
}

function statusOf(child: ChildProcess): Promise<ProcessStatus> {
  const { promise, resolve } = Promise.withResolvers<ProcessStatus>();
  child.once('error', (error) => resolve({ code: null, signal: null, error }));
  child.once('exit', (code, signal) => resolve({ code, signal }));
  return promise;
}

/** Returns stdio for all numbers up to the highest: `ignore` is /dev/null, `pipe` a socket to this process. */
function stdioOf(sockets: readonly number[], descriptors: ReadonlyMap<number, number>): ('ignore' | 'pipe' | number)[] {
  const last = Math.max(...sockets, ...descriptors.keys());
  return Array.from({ length: last + 1 }, (_, number) =>
    sockets.includes(number) ? 'pipe' : (descriptors.get(number) ?? 'ignore'),
  );
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
