import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/*
 * V8 collects when its own heap grows, where a buffer is a few words whatever it holds. A process that streams therefore
 * collects by the bytes that passed, and one at rest gives back what work has left. docs/decisions/0013-import-memory.md
 * has the measurements, and the V8 flags that belong to it (`app/main.ts`).
 */

/**
 * Extent of a collection: the `young` buffers and objects, `all` that is unused, or all `thoroughly`, which also gives
 * the freed pages back to the system and drops compiled code that has not run lately.
 */
type Extent = 'young' | 'all' | 'thoroughly';

interface CollectorOptions {
  readonly type?: 'minor' | 'major';
  readonly flavor?: 'regular' | 'last-resort';
}

const OPTIONS: Readonly<Record<Extent, CollectorOptions>> = {
  young: { type: 'minor' },
  all: { type: 'major' },
  thoroughly: { type: 'major', flavor: 'last-resort' },
};

/** Bytes after which young buffers are freed, and bytes after which all are. */
const YOUNG_EVERY_BYTES = 4 * 1024 * 1024;
const ALL_EVERY_BYTES = 64 * 1024 * 1024;

/** Less than this is not worth a pause of 50 ms. */
const WORTH_BYTES = 16 * 1024 * 1024;

let collector: ((options: CollectorOptions) => void) | undefined;

/** Frees memory now: about 1, 20 and 50 ms on a heap of 30 MB. */
export function freeMemory(extent: Extent): void {
  collector ??= findCollector();
  collector(OPTIONS[extent]);
}

/** A normal context has no collector; a new one that is made after the flag was set has it. */
function findCollector(): (options: CollectorOptions) => void {
  setFlagsFromString('--expose-gc');
  return runInNewContext('gc') as (options: CollectorOptions) => void;
}

/** Bytes that passed since the last collection of each kind, in this process. */
const since = {
  young: 0,
  // The first collection of all comes with the first buffers, and frees what the start of the process has left too.
  all: ALL_EVERY_BYTES,
  first: true,
};

/** Counts bytes that went through the process in buffers which are unused now, and frees them every few megabytes. */
export function passed(bytes: number): void {
  since.young += bytes;
  since.all += bytes;
  if (since.young < YOUNG_EVERY_BYTES) return;
  since.young = 0;
  if (since.all < ALL_EVERY_BYTES) return freeMemory('young');
  since.all = 0;
  freeMemory(since.first ? 'thoroughly' : 'all');
  since.first = false;
}

/** Gives memory that start and work have left unused back to the system. At rest V8 would keep it. */
export class IdleMemoryTrimmer {
  readonly #residentBytes: () => number;
  readonly #free: () => void;
  #restingBytes = 0;

  /** Looks at this process; tests give it another one. */
  constructor(
    residentBytes: () => number = () => process.memoryUsage.rss(),
    free: () => void = () => freeMemory('thoroughly'),
  ) {
    this.#residentBytes = residentBytes;
    this.#free = free;
  }

  /** To be called at rest: trims if 16 MiB or more have been added since the last time. */
  trim(): void {
    if (this.#residentBytes() < this.#restingBytes + WORTH_BYTES) return;
    this.#free();
    this.#restingBytes = this.#residentBytes();
  }
}
