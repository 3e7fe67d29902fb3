import { readdir, readFile } from 'node:fs/promises';
import { limits } from '../../../contract/limits.ts';

const LOOK_EVERY_MS = 250;

/**
 * Gives up on a boot that had its time. Time in which a busy host gave its processes no processor is not counted: a guest
 * that hangs is told from one that is only slow, so that the latter need not start again.
 */
export class Watchdog implements Disposable {
  readonly #giveUp = new AbortController();
  readonly #timer: NodeJS.Timeout;

  /** `waitedMs` tells how long the boot has waited for a processor so far (`waitedForProcessor`). */
  constructor(timeMs: number, waitedMs: () => Promise<number>, nowMs: () => number = () => performance.now()) {
    const startedMs = nowMs();
    let looking = false;
    this.#timer = setInterval(() => {
      const elapsedMs = nowMs() - startedMs;
      if (looking || elapsedMs < timeMs) return;
      if (elapsedMs >= Math.max(timeMs, limits.guestBootMsMax)) return this.#giveUp.abort();
      looking = true;
      void waitedMs().then((waited) => {
        looking = false;
        if (elapsedMs - waited >= timeMs) this.#giveUp.abort();
      });
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
 * Milliseconds for which the most neglected thread below a process was ready to run and did not: `run_delay`, the second
 * field of `/proc/PID/task/TID/schedstat` (Documentation/scheduler/sched-stats.rst). 0 where the kernel does not tell.
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
