const CONTEXT_LINES = 3;
/** Changed lines beyond which a patch is one replacement: finding the shortest script is quadratic in them. */
const EDITS_MAX = 1_000;
const LINES_MAX = 20_000;

/** Line of the script: kept in both texts, or only in the text before or after. */
interface Edit {
  readonly sign: ' ' | '-' | '+';
  readonly text: string;
}

/** Unified diff of two texts, as `diff -u` and `patch` have it; undefined when one of them is not UTF-8 text. */
export function unifiedPatch(path: string, oldBytes: Buffer, newBytes: Buffer): string | undefined {
  const [before, after] = [linesOf(oldBytes), linesOf(newBytes)];
  if (before === undefined || after === undefined) return undefined;
  const hunks = hunksOf(scriptOf(before, after));
  return hunks.length === 0 ? undefined : [`--- a${path}`, `+++ b${path}`, ...hunks, ''].join('\n');
}

/**
 * Splits text into lines without their ends; undefined for binary data. A last line without a line feed is marked as by
 * `diff`.
 */
function linesOf(bytes: Buffer): string[] | undefined {
  if (bytes.includes(0)) return undefined;
  const text = bytes.toString('utf8');
  if (!Buffer.from(text, 'utf8').equals(bytes)) return undefined;
  const lines = text.split('\n');
  const last = lines.pop() ?? '';
  if (last !== '') lines.push(`${last}\n\\ No newline at end of file`);
  return lines.length > LINES_MAX ? undefined : lines;
}

function scriptOf(before: readonly string[], after: readonly string[]): Edit[] {
  let start = 0;
  while (start < before.length && start < after.length && before[start] === after[start]) start += 1;
  let end = 0;
  while (end < before.length - start && end < after.length - start && before.at(-1 - end) === after.at(-1 - end))
    end += 1;
  const middle = shortestScript(before.slice(start, before.length - end), after.slice(start, after.length - end));
  const kept = (text: string): Edit => ({ sign: ' ', text });
  return [...before.slice(0, start).map(kept), ...middle, ...before.slice(before.length - end).map(kept)];
}

/**
 * Returns the shortest edit script (E. Myers, An O(ND) difference algorithm, 1986): the furthest point on each diagonal
 * for a growing number of edits.
 */
function shortestScript(before: readonly string[], after: readonly string[]): Edit[] {
  const editsMax = Math.min(EDITS_MAX, before.length + after.length);
  const centre = editsMax + 1;
  const furthest = new Int32Array(2 * centre + 1);
  /** Copy of `furthest` around its centre before each step; `trace[n]` has the centre at `n + 1`. */
  const trace: Int32Array[] = [];
  for (let edits = 0; edits <= editsMax; edits++) {
    trace.push(furthest.slice(centre - edits - 1, centre + edits + 2));
    for (let diagonal = -edits; diagonal <= edits; diagonal += 2) {
      const previous = previousDiagonal(furthest, centre, diagonal, edits);
      let x = (furthest[centre + previous] ?? 0) + (previous < diagonal ? 1 : 0);
      while (x < before.length && x - diagonal < after.length && before[x] === after[x - diagonal]) x += 1;
      furthest[centre + diagonal] = x;
      if (x >= before.length && x - diagonal >= after.length) return backtrack(trace, before, after);
    }
  }
  return replacement(before, after);
}

/** Returns the diagonal from which the next step onto `diagonal` reaches furthest. */
function previousDiagonal(furthest: Int32Array, centre: number, diagonal: number, edits: number): number {
  if (diagonal === -edits) return diagonal + 1;
  if (diagonal === edits) return diagonal - 1;
  const [below, above] = [furthest[centre + diagonal - 1] ?? 0, furthest[centre + diagonal + 1] ?? 0];
  return below < above ? diagonal + 1 : diagonal - 1;
}

function backtrack(trace: readonly Int32Array[], before: readonly string[], after: readonly string[]): Edit[] {
  const script: Edit[] = [];
  let [x, y] = [before.length, after.length];
  for (const [edits, furthest] of [...trace.entries()].toReversed()) {
    const previous = previousDiagonal(furthest, edits + 1, x - y, edits);
    const fromX = edits === 0 ? 0 : (furthest[edits + 1 + previous] ?? 0);
    const fromY = edits === 0 ? 0 : fromX - previous;
    while (x > fromX && y > fromY) {
      script.push({ sign: ' ', text: before[--x] ?? '' });
      y -= 1;
    }
    if (edits === 0) break;
    if (x === fromX) script.push({ sign: '+', text: after[--y] ?? '' });
    else script.push({ sign: '-', text: before[--x] ?? '' });
  }
  return script.toReversed();
}

function replacement(before: readonly string[], after: readonly string[]): Edit[] {
  return [...before.map((text): Edit => ({ sign: '-', text })), ...after.map((text): Edit => ({ sign: '+', text }))];
}

/** Groups nearby changes with the lines around them. */
function hunksOf(script: readonly Edit[]): string[] {
  const hunks: string[] = [];
  let [oldLine, newLine] = [1, 1];
  let at = 0;
  while (at < script.length) {
    const first = script.findIndex((edit, index) => index >= at && edit.sign !== ' ');
    if (first < 0) break;
    const start = Math.max(at, first - CONTEXT_LINES);
    const end = endOfHunk(script, first);
    oldLine += start - at;
    newLine += start - at;
    const edits = script.slice(start, end);
    const oldCount = edits.filter(({ sign }) => sign !== '+').length;
    const newCount = edits.filter(({ sign }) => sign !== '-').length;
    const header = `@@ -${rangeOf(oldLine, oldCount)} +${rangeOf(newLine, newCount)} @@`;
    hunks.push([header, ...edits.map(({ sign, text }) => sign + text)].join('\n'));
    oldLine += oldCount;
    newLine += newCount;
    at = end;
  }
  return hunks;
}

/** Returns the end of a hunk: after the last change before a long run of unchanged lines. */
function endOfHunk(script: readonly Edit[], first: number): number {
  let lastChange = first;
  for (let at = first; at < script.length && at - lastChange <= 2 * CONTEXT_LINES; at++) {
    if (script[at]?.sign !== ' ') lastChange = at;
  }
  return Math.min(script.length, lastChange + CONTEXT_LINES + 1);
}

/** Returns a range as `diff` writes it: `5` for one line, and the line before an empty range. */
function rangeOf(line: number, count: number): string {
  if (count === 1) return `${line}`;
  return count === 0 ? `${line - 1},0` : `${line},${count}`;
}
