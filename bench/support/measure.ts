/** Times in milliseconds, sorted. These machines are noisy: quote medians and ratios. */
export interface Sample {
  readonly medianMs: number;
  readonly p99Ms: number;
  readonly minMs: number;
  readonly maxMs: number;
  readonly count: number;
}

/** Sorts and summarises measured times. */
export function sampleOf(timesMs: readonly number[]): Sample {
  const sorted = timesMs.toSorted((a, b) => a - b);
  const at = (share: number): number =>
    sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
  return { medianMs: at(0.5), p99Ms: at(0.99), minMs: at(0), maxMs: at(1), count: sorted.length };
}

/** Returns the elapsed time of one call in milliseconds. */
export async function timeMs(work: () => Promise<unknown>): Promise<number> {
  const startedMs = performance.now();
  await work();
  return performance.now() - startedMs;
}

/** Calls `work` `count` times after `warmups` uncounted ones, one after the other. */
export async function sample(count: number, work: () => Promise<unknown>, warmups = 1): Promise<Sample> {
  for (let index = 0; index < warmups; index += 1) await work();
  const timesMs: number[] = [];
  for (let index = 0; index < count; index += 1) timesMs.push(await timeMs(work));
  return sampleOf(timesMs);
}

/**
 * Measures two things alternately, A B A B …, so that changes of the machine's speed affect both alike. `beforePeer` is not
 * counted.
 */
export async function samplePair(
  count: number,
  ours: () => Promise<unknown>,
  peer: () => Promise<unknown>,
  beforePeer: () => Promise<unknown> = async () => undefined,
): Promise<{ readonly ours: Sample; readonly peer: Sample; readonly ratio: number }> {
  await ours();
  await beforePeer();
  await peer();
  const oursMs: number[] = [];
  const peerMs: number[] = [];
  for (let index = 0; index < count; index += 1) {
    oursMs.push(await timeMs(ours));
    await beforePeer();
    peerMs.push(await timeMs(peer));
  }
  const pair = { ours: sampleOf(oursMs), peer: sampleOf(peerMs) };
  return { ...pair, ratio: pair.ours.medianMs / pair.peer.medianMs };
}
