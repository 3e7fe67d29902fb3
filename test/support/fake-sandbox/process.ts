import { randomUUID } from 'node:crypto';
import type { Command, GuestUser, Outcome, OutputChunk, Process } from '../../../src/sandbox/driver.ts';

const SIGKILL = 9;
/** Chunks buffered for a slow reader; then the program waits. */
const QUEUE_MAX = 16;

/** A pipe: bytes in transit from one side to the other. */
class Pipe<Item> implements AsyncIterable<Item> {
  readonly #items: Item[] = [];
  #closed = false;
  #wake = Promise.withResolvers<void>();

  /** Waits while the queue is full. */
  async push(item: Item, signal: AbortSignal): Promise<void> {
    while (this.#items.length >= QUEUE_MAX && !this.#closed) {
      signal.throwIfAborted();
      await this.#changed(signal);
    }
    if (!this.#closed) this.#items.push(item);
    this.#notify();
  }

  close(): void {
    this.#closed = true;
    this.#notify();
  }

  async *[Symbol.asyncIterator](): AsyncIterator<Item> {
    for (;;) {
      const item = this.#items.shift();
      if (item !== undefined) {
        this.#notify();
        yield item;
      } else if (this.#closed) return;
      else await this.#wake.promise;
    }
  }

  async #changed(signal: AbortSignal): Promise<void> {
    const { promise, reject } = Promise.withResolvers<never>();
    const abort = (): void => reject(signal.reason as Error);
    signal.addEventListener('abort', abort, { once: true });
    try {
      await Promise.race([this.#wake.promise, promise]);
    } finally {
      signal.removeEventListener('abort', abort);
    }
  }

  #notify(): void {
    this.#wake.resolve();
    this.#wake = Promise.withResolvers();
  }
}

/** Process as its own program sees it. */
export interface ProcessControl {
  readonly stdin: AsyncIterable<Uint8Array>;
  readonly write: (stream: OutputChunk['stream'], bytes: Uint8Array) => Promise<void>;
  /** Aborts when the process group is killed. */
  readonly signal: AbortSignal;
  /** Makes the process ignore this signal from now on. */
  readonly ignore: (signal: number) => void;
}

/** A process of the fake guest: an async function with pipes, a signal and an outcome. */
export class FakeProcess implements Process {
  readonly pid: number;
  readonly output: AsyncIterable<OutputChunk>;
  readonly outcome: Promise<Outcome>;
  readonly id: string = randomUUID();
  readonly #output = new Pipe<OutputChunk>();
  readonly #stdin = new Pipe<Uint8Array>();
  readonly #killed = new AbortController();
  readonly #ignored = new Set<number>();
  readonly #startedMs = performance.now();
  readonly #settled = Promise.withResolvers<Outcome>();
  identity: GuestUser | undefined;
  #stdinOpen: boolean;
  #signal = -1;

  constructor(pid: number, command: Command, body: (control: ProcessControl) => Promise<number>) {
    this.pid = pid;
    this.output = this.#output;
    this.outcome = this.#settled.promise;
    // Readers of the outcome get the error; without one, it must not crash this process.
    this.outcome.catch(() => {});
    this.#stdinOpen = command.stdin || command.tty !== undefined;
    if (!this.#stdinOpen) this.#stdin.close();
    void this.#run(body);
  }

  async write(bytes: Uint8Array): Promise<void> {
    if (this.#stdinOpen) await this.#stdin.push(bytes, this.#killed.signal).catch(() => {});
  }

  async closeStdin(): Promise<void> {
    this.#endStdin();
  }

  async kill(signal: number): Promise<void> {
    if (signal !== SIGKILL && this.#ignored.has(signal)) return;
    if (this.#signal === -1) this.#signal = signal;
    this.#killed.abort(new Error(`killed by signal ${signal}`));
    this.#endStdin();
  }

  async resize(): Promise<void> {}

  /** Ends the process with its guest; its outcome is unknown. */
  lose(reason: Error): void {
    this.#settled.reject(reason);
    this.#killed.abort(reason);
    this.#output.close();
    this.#endStdin();
  }

  async #run(body: (control: ProcessControl) => Promise<number>): Promise<void> {
    const { signal } = this.#killed;
    let exitCode = -1;
    // Only once the starter has the process.
    await Promise.resolve();
    try {
      exitCode = await body({
        stdin: this.#stdin,
        write: (stream, bytes) => this.#output.push({ stream, bytes }, signal),
        signal,
        ignore: (number) => this.#ignored.add(number),
      });
    } catch (error) {
      if (!signal.aborted) this.#settled.reject(error);
    }
    const byKill = signal.aborted && this.#signal !== -1;
    this.#settled.resolve(outcomeOf(byKill ? -1 : exitCode, byKill ? this.#signal : -1, this.#startedMs));
    this.#output.close();
    this.#endStdin();
  }

  #endStdin(): void {
    this.#stdinOpen = false;
    this.#stdin.close();
  }
}

/** The fake measures only time. */
function outcomeOf(exitCode: number, signal: number, startedMs: number): Outcome {
  return {
    exitCode,
    signal,
    coreDump: false,
    outOfMemory: false,
    durationMs: performance.now() - startedMs,
    usage: {
      userTimeUs: 1_000,
      sysTimeUs: 500,
      maxRssKb: 1_024,
      minorFaults: 1,
      majorFaults: 0,
      voluntarySwitches: 1,
      involuntarySwitches: 0,
      blockInputOps: 0,
      blockOutputOps: 0,
    },
  };
}
