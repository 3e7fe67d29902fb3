import type { GcReport, GcRequest } from '../contract/server.ts';
import type { SandboxDriver } from '../sandbox/driver.ts';
import type { ReaderPool } from '../erofs/reader-pool.ts';
import { present } from '../std/present.ts';
import type { Store } from '../store/store.ts';
import type { ImageTrees } from './image-trees.ts';
import type { EngineLog } from './log.ts';
import type { Operations } from './operations.ts';
import type { Threads } from './workers/threads.ts';

/** Policy of automatic collection. */
export interface HousekeepingPolicy {
  /** Age at which unused uploads, injected layers and output are removed; 0 for never. */
  readonly unusedDays: number;
  /**
   * Size of the store above which younger and younger things are removed, including untagged images; absent for no
   * limit.
   */
  readonly bytesMax?: number;
}

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const UNUSED_DAYS_DEFAULT = 30;
/** Interval of size checks, and delay of the first collection after the start. */
const LOOK_EVERY_MS = 60_000;
/** Interval of collections by age. */
const COLLECT_EVERY_MS = 6 * HOUR_MS;
/** Age below which automatic collection removes nothing, because its creator or user may be about to use it again. */
const SPARED_MS = HOUR_MS;

export interface HousekeepingParts {
  readonly store: Store;
  readonly driver: Pick<SandboxDriver, 'collect'>;
  readonly readers: ReaderPool;
  readonly trees: ImageTrees;
  readonly threads: Pick<Threads, 'renew'>;
  readonly operations: Operations;
  readonly log: EngineLog;
}

/** Request to the store, without what the engine adds: the uses of images that it knows. */
type StoreCollection = Pick<
  Parameters<Store['gc']>[0],
  'unusedSinceMs' | 'bytesMax' | 'spareSinceMs' | 'dryRun' | 'sharedOnly'
>;

/**
 * Garbage collection, on request and in the background, by age and size. Safe while runs and imports are in progress.
 */
export class Housekeeping implements AsyncDisposable {
  readonly #parts: HousekeepingParts;
  readonly #policy: HousekeepingPolicy | undefined;
  readonly #timer: NodeJS.Timeout | undefined;
  readonly #nowMs: () => number;
  #collectedMs = Number.NEGATIVE_INFINITY;
  /** Bytes that an earlier collection could not free; it is not repeated until the store has grown. */
  #leftBytes = 0;
  #running: Promise<void> = Promise.resolve();

  /** Without a policy nothing is collected automatically. `nowMs` is a clock. */
  constructor(parts: HousekeepingParts, policy?: HousekeepingPolicy, nowMs: () => number = Date.now) {
    this.#parts = parts;
    this.#policy = policy;
    this.#nowMs = nowMs;
    if (policy !== undefined) this.#timer = setInterval(() => this.look(), LOOK_EVERY_MS).unref();
  }

  /** Collects garbage. Without an age, removes what was unused for 30 days. */
  async collect({
    older_than_days = UNUSED_DAYS_DEFAULT,
    max_bytes: bytesMax,
    dry_run: dryRun = false,
  }: GcRequest): Promise<GcReport> {
    const unusedSinceMs = this.#nowMs() - older_than_days * DAY_MS;
    return this.#gc(present({ unusedSinceMs, bytesMax, dryRun }));
  }

  /**
   * Evicts images that a cluster's catalogue has until the store has at most so many bytes. Only what this store is a cache
   * for goes, and nothing that is used.
   */
  async evict(bytesMax: number): Promise<{ readonly images: number; readonly freedBytes: number }> {
    await this.#parts.trees.closeIdle();
    const request = { unusedSinceMs: Number.MIN_SAFE_INTEGER, bytesMax, dryRun: false, sharedOnly: true };
    const { images, freed_bytes: freedBytes } = await this.#collectStore(request);
    return { images, freedBytes };
  }

  /**
   * Checks whether something should be collected or reserved, and does so in the background, one collection at a time.
   */
  look(): void {
    this.#running = this.#running.then(async () => {
      try {
        await this.#lookNow();
      } catch (error) {
        this.#parts.log.warn({ err: error }, 'what nothing needs could not be collected');
      }
    });
  }

  /** Waits for the work that `look` has started. */
  async settled(): Promise<void> {
    await this.#running;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    await this.#running;
  }

  async #lookNow(): Promise<void> {
    const { store, log } = this.#parts;
    const { unusedDays = 0, bytesMax } = this.#policy ?? {};
    await store.reserve();
    const now = this.#nowMs();
    const old = unusedDays > 0 && now - this.#collectedMs >= COLLECT_EVERY_MS;
    const tooLarge = bytesMax !== undefined && store.bytes() > Math.max(bytesMax, this.#leftBytes);
    if (!old && !tooLarge) return;
    this.#collectedMs = now;
    const unusedSinceMs = unusedDays > 0 ? now - unusedDays * DAY_MS : Number.MIN_SAFE_INTEGER;
    const report = await this.#gc({
      unusedSinceMs,
      spareSinceMs: now - SPARED_MS,
      ...present({ bytesMax }),
      dryRun: false,
    });
    this.#leftBytes = store.bytes();
    const { usage, ...freed } = report;
    if (freed.freed_bytes > 0 || freed.images > 0 || freed.templates > 0)
      log.info({ ...freed, left: usage.length }, 'collected garbage');
  }

  async #gc(request: StoreCollection): Promise<GcReport> {
    const { driver, trees } = this.#parts;
    const { unusedSinceMs, spareSinceMs = Number.MAX_SAFE_INTEGER, dryRun } = request;
    // A tree that is kept open would keep the disk space of its layers in use.
    if (!dryRun) await trees.closeIdle();
    const report = await this.#collectStore(request);
    // Loading a template again takes a moment, so that its memory goes whatever its age; making one takes seconds.
    const kept = await driver.collect({ memoryUnusedSinceMs: spareSinceMs, filesUnusedSinceMs: unusedSinceMs, dryRun });
    const usage = [...report.usage, { what: 'templates of microVMs', bytes: kept.used.diskBytes }];
    return {
      ...report,
      freed_bytes: report.freed_bytes + kept.freed.diskBytes,
      templates: kept.templates,
      freed_memory_bytes: kept.freed.memoryBytes,
      used_memory_bytes: kept.used.memoryBytes,
      usage: usage.filter(({ bytes }) => bytes > 0).sort((left, right) => right.bytes - left.bytes),
    };
  }

  async #collectStore(request: StoreCollection): ReturnType<Store['gc']> {
    const { store, readers, threads, operations } = this.#parts;
    return await store.gc({
      ...request,
      usedBy: (image) => operations.userOf(image),
      onRemove: async (path) => {
        await readers.evict(path);
        threads.renew();
      },
    });
  }
}
