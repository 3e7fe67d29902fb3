import { readdir, readFile } from 'node:fs/promises';
import { limits } from '../../../contract/limits.ts';

const LOOK_EVERY_MS = 500;

/** Facts about a boot under way, as counters that only grow. */
export interface BootProgress {
  /** Returns how much of its memory the guest has touched, in any unit. */
  readonly touched: () => Promise<number>;
  /** Returns the milliseconds for which the boot has waited for a processor of the host (`waitedForProcessor`). */
  readonly waitedMs: () => Promise<number>;
}

/**
 * Gives up on a boot without progress: for `stallMs` its guest has touched no memory that it had not touched before. Every
 * step of a boot touches some, however slow the machine is, which distinguishes a hanging guest from a slow one. Time in
 * which a busy host gave the boot no processor is not counted. After `guestBootMsMax` every boot is given up.
 */
export class Watchdog implements Disposable {
  readonly #giveUp = new AbortController();
  readonly #timer: NodeJS.Timeout;

  constructor(stallMs: number, { touched, waitedMs }: BootProgress, nowMs: () => number = () => performance.now()) {
    const startedMs = nowMs();
    let last = { touched: -1, waitedMs: 0, atMs: startedMs };
    let looking = false;
    const look = async (): Promise<void> => {
      const now = { touched: await touched(), waitedMs: await waitedMs(), atMs: nowMs() };
      const idleMs = now.atMs - last.atMs - (now.waitedMs - last.waitedMs);
      if (now.touched > last.touched) last = now;
      else if (idleMs >= stallMs) this.#giveUp.abort();
      looking = false;
    };
    this.#timer = setInterval(() => {
      if (nowMs() - startedMs >= limits.guestBootMsMax) return this.#giveUp.abort();
      if (looking) return;
      looking = true;
      void look();
    }, LOOK_EVERY_MS);
  }

  get signal(): AbortSignal {
    return this.#giveUp.signal;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}

/**
 * Returns the longest time in milliseconds for which a thread below a process waited for a processor: `run_delay`, the second
 * field of `/proc/PID/task/TID/schedstat` (Documentation/scheduler/sched-stats.rst). 0 where the kernel does not report it.
 */
export async function waitedForProcessor(pid: number | undefined): Promise<number> {
  if (pid === undefined) return 0;
  const threads = await readdir(`/proc/${pid}/task`).catch(() => []);
  const found = threads.map(async (thread) => {
    const path = `/proc/${pid}/task/${thread}`;
    const [own = '', children = ''] = await Promise.all(
      ['schedstat', 'children'].map((name) => readFile(`${path}/${name}`, 'utf8').catch(() => '')),
    );
    const below = children.split(' ').filter((child) => child !== '');
    const waits = await Promise.all(below.map((child) => waitedForProcessor(Number(child))));
    return Math.max(Number(own.split(' ')[1] ?? 0) / 1e6, ...waits);
  });
  return Math.max(0, ...(await Promise.all(found)));
}
