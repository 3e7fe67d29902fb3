import { Pace } from './event-loop.ts';

/** Sorted in one go. */
const RUN = 1_000;

/** Returns the values in ascending order, as a stable sort does, and lets other work of the process in meanwhile. */
export async function sortInTurns<Value>(
  values: readonly Value[],
  compare: (left: Value, right: Value) => number,
): Promise<Value[]> {
  if (values.length <= RUN) return values.toSorted(compare);
  const pace = new Pace();
  let runs: Value[][] = [];
  for (let at = 0; at < values.length; at += RUN) {
    runs.push(values.slice(at, at + RUN).sort(compare));
    await pace.rest();
  }
  while (runs.length > 1) {
    const merged: Value[][] = [];
    for (let at = 0; at < runs.length; at += 2)
      merged.push(await merge(runs[at] ?? [], runs[at + 1] ?? [], compare, pace));
    runs = merged;
  }
  return runs[0] ?? [];
}

async function merge<Value>(
  left: readonly Value[],
  right: readonly Value[],
  compare: (left: Value, right: Value) => number,
  pace: Pace,
): Promise<Value[]> {
  const merged: Value[] = [];
  let [l, r] = [0, 0];
  while (l < left.length && r < right.length) {
    if (pace.due()) await pace.rest();
    const [a, b] = [left[l] as Value, right[r] as Value];
    if (compare(a, b) <= 0) {
      merged.push(a);
      l += 1;
    } else {
      merged.push(b);
      r += 1;
    }
  }
  for (; l < left.length; l++) merged.push(left[l] as Value);
  for (; r < right.length; r++) merged.push(right[r] as Value);
  return merged;
}
