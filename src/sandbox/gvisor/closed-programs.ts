import { constants } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { dirname } from 'node:path';

/** Programs that the sandbox's user cannot start by their paths, mostly because only another user may enter their folder. */
export interface ClosedPrograms {
  /** Those that the helper makes reachable in a mount namespace of its own. */
  readonly shown: readonly string[];
  /** The others. Each run gets a copy of them in memory. */
  readonly copied: readonly string[];
}

const READ_AND_RUN = constants.S_IROTH | constants.S_IXOTH;
/** The capability to mount, as a bit of `CapEff` in /proc/PID/status (capabilities(7)). */
const CAP_SYS_ADMIN = 1n << 21n;

/** Finds those programs among `paths`. */
export async function closedPrograms(paths: readonly string[]): Promise<ClosedPrograms> {
  const mounts = await mayMount();
  const shown: string[] = [];
  const copied: string[] = [];
  for (const path of paths) {
    const mayRun = ((await stat(path)).mode & READ_AND_RUN) === READ_AND_RUN;
    if (mayRun && (await isReachable(dirname(path)))) continue;
    (mayRun && mounts ? shown : copied).push(path);
  }
  return { shown, copied };
}

/** Returns the size of all these files. */
export async function sizeMib(paths: readonly string[]): Promise<number> {
  const files = await Promise.all(paths.map((path) => stat(path)));
  return Math.ceil(files.reduce((sum, { size }) => sum + size, 0) / 1024 ** 2);
}

async function mayMount(): Promise<boolean> {
  const status = await readFile('/proc/self/status', 'utf8');
  const effective = /^CapEff:\s*([0-9a-f]+)$/mu.exec(status)?.[1] ?? '0';
  return (BigInt(`0x${effective}`) & CAP_SYS_ADMIN) !== 0n;
}

async function isReachable(folder: string): Promise<boolean> {
  if (((await stat(folder)).mode & constants.S_IXOTH) === 0) return false;
  const above = dirname(folder);
  return above === folder || isReachable(above);
}
