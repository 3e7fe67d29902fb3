import { collect } from './collector.ts';

/** Less than this is not worth a pause of 50 ms. */
const WORTH_BYTES = 16 * 1024 * 1024;

/** What start and work leave in memory although nobody needs it. V8 frees it with the work to come, so at rest it stays. */
export class Leftovers {
  readonly #residentBytes: () => number;
  readonly #free: () => void;
  #restingBytes = 0;

  /** Looks at this process, unless told to look elsewhere. */
  constructor(
    residentBytes: () => number = () => process.memoryUsage.rss(),
    free: () => void = () => collect('thoroughly'),
  ) {
    this.#residentBytes = residentBytes;
    this.#free = free;
  }

  /** To be called at rest: frees them, and gives their pages back to the system, if they have become many since last time. */
  clear(): void {
    if (this.#residentBytes() < this.#restingBytes + WORTH_BYTES) return;
    this.#free();
    this.#restingBytes = this.#residentBytes();
  }
}
