import type { LeftOut } from './local-files.ts';

/** Number of places that a report names. */
const PLACES_SHOWN = 5;

/** Returns what a report says of files that were left out: their number by path, beside the number of files sent. */
export function leftOutOf(counts: ReadonlyMap<string, number>, sent: number): LeftOut | undefined {
  if (counts.size === 0) return undefined;
  const files = [...counts.values()].reduce((sum, count) => sum + count, 0);
  const places = [...counts].sort(([, left], [, right]) => right - left).map(([path]) => path);
  return {
    files,
    of: files + sent,
    places: places.slice(0, PLACES_SHOWN),
    more: Math.max(0, places.length - PLACES_SHOWN),
  };
}

/** Says what was left out: `3,000 of 3,202 files, in node_modules/`. */
export function leftOutText({ files, of, places, more }: LeftOut): string {
  const count = (value: number): string => value.toLocaleString('en-US');
  return `${count(files)} of ${count(of)} files, in ${places.join(', ')}${more > 0 ? ` and ${count(more)} more` : ''}`;
}
