import type { Random } from '../../support/random.ts';

/** A project of a simulation, and the operations it asks for. */
export interface SimulatedProject {
  readonly name: string;
  /** UUIDs of its images, the most popular first: the n-th is used 1/n times as often (Zipf). */
  readonly images: readonly string[];
  /** Mean time of a run. */
  readonly runMs: number;
  /** Operations it asks for, by the time: before 0 they gather while no node works. */
  readonly arrivals: readonly { readonly atMs: number; readonly count: number }[];
}

/** Time in which the backlog gathers before the nodes begin. */
const GATHERING_MS = 60_000;
/** Statements in which the backlog is accepted. */
const GROUPS = 200;

/** Shares of the backlog: one project has most of it, and asks first. */
const SHARES = [0.7, 0.12, 0.08, 0.04, 0.025, 0.015, 0.01, 0.007];
/** Projects without a backlog, which ask for one operation now and then. */
const LATE = [2_000, 5_000];
/** Project whose runs take so many times as long as those of the others. */
const LONG = { project: 3, times: 4 } as const;

/**
 * Returns ten projects with skewed load: `count` operations wait when the nodes begin, 70 % of them of the project that asked
 * first, and two projects ask for a single operation every few seconds from then on.
 */
export function skewedProjects(
  { count, images, runMs, lateMs }: { count: number; images: number; runMs: number; lateMs: number },
  random: Random,
): SimulatedProject[] {
  const uuids = (share: number): string[] =>
    Array.from({ length: Math.max(3, Math.round(images * share)) }, () => uuidOf(random));
  const group = Math.ceil(count / GROUPS);
  let startMs = -GATHERING_MS;
  const gathered = SHARES.map((share, index) => {
    const arrivals: { atMs: number; count: number }[] = [];
    const total = Math.round((count * share) / SHARES.reduce((sum, one) => sum + one));
    for (let left = total; left > 0; left -= group, startMs += GATHERING_MS / GROUPS)
      arrivals.push({ atMs: Math.min(-1, Math.floor(startMs)), count: Math.min(left, group) });
    return {
      name: `p${index}`,
      images: uuids(share),
      runMs: index === LONG.project ? runMs * LONG.times : runMs,
      arrivals,
    };
  });
  const late = LATE.map((everyMs, index) => ({
    name: `late${index}`,
    images: uuids(0),
    runMs,
    arrivals: Array.from({ length: Math.floor(lateMs / everyMs) }, (_, place) => ({
      atMs: (place + 1) * everyMs,
      count: 1,
    })),
  }));
  return [...gathered, ...late];
}

/** Picks an image by its popularity. */
export function imageOf({ images }: SimulatedProject, random: Random): string {
  const weight = images.reduce((sum, _, index) => sum + 1 / (index + 1), 0);
  let at = (random.below(1_000_000) / 1_000_000) * weight;
  const found = images.find((_, index) => (at -= 1 / (index + 1)) < 0);
  return found ?? images[0] ?? '';
}

/** Returns a UUID of reproducible randomness. */
export function uuidOf(random: Random): string {
  const hex = Array.from({ length: 32 }, () => random.below(16).toString(16)).join('');
  return [hex.slice(0, 8), hex.slice(8, 12), `4${hex.slice(13, 16)}`, `8${hex.slice(17, 20)}`, hex.slice(20)].join('-');
}

/** Jain's index of fairness (Jain, Chiu, Hawe 1984): 1 when all have the same, 1/n when one of n has everything. */
export function fairness(shares: readonly number[]): number {
  const sum = shares.reduce((total, one) => total + one, 0);
  const squares = shares.reduce((total, one) => total + one ** 2, 0);
  return squares === 0 ? 1 : sum ** 2 / (shares.length * squares);
}
