import type { Checkpoint } from '../../contract/instance.ts';

/** Longest time for which Node sets a timer. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/** Asks for a snapshot after every few commands, or from time to time while an instance is used. */
export class Checkpoints implements Disposable {
  readonly #commandsMax: number;
  readonly #take: () => Promise<void>;
  readonly #busy: () => boolean;
  readonly #timer: NodeJS.Timeout | undefined;
  /** Commands that have ended since the last snapshot. */
  #commands = 0;
  #taking = false;
  #stopped = false;

  /** `take` makes a snapshot and never rejects; `busy` reports whether a process runs now. */
  constructor({ commands = Infinity, seconds }: Checkpoint, take: () => Promise<void>, busy: () => boolean) {
    this.#commandsMax = commands;
    this.#take = take;
    this.#busy = busy;
    if (seconds === undefined) return;
    const everyMs = Math.min(TIMER_MS_MAX, seconds * 1_000);
    this.#timer = setInterval(() => {
      if (this.#commands > 0 || this.#busy()) void this.#due();
    }, everyMs).unref();
  }

  /** Records that a command has ended. */
  ran(): void {
    this.#commands += 1;
    if (this.#commands >= this.#commandsMax) void this.#due();
  }

  [Symbol.dispose](): void {
    this.#stopped = true;
    clearInterval(this.#timer);
  }

  /** Commands that end while a snapshot is made are part of the next one. */
  async #due(): Promise<void> {
    if (this.#taking || this.#stopped) return;
    this.#taking = true;
    this.#commands = 0;
    await this.#take();
    this.#taking = false;
    if (this.#commands >= this.#commandsMax) await this.#due();
  }
}
