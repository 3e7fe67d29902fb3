const CHARACTERS_COMPARED = 64;

/**
 * Returns the candidates that a name may mean, closest first: those that it abbreviates (`cmd` for `command`), those
 * within two edits (three for names of eight characters and more), and those that it begins or ends with or the reverse.
 */
export function closestOf(name: string, candidates: readonly string[]): string[] {
  const text = name.slice(0, CHARACTERS_COMPARED);
  const editsMax = text.length < 8 ? 2 : 3;
  const apart = (candidate: string): number => {
    if (abbreviates(text, candidate)) return 0;
    const edits = editsBetween(text, candidate.slice(0, CHARACTERS_COMPARED), editsMax);
    if (edits <= editsMax) return edits;
    return overlaps(text, candidate) ? editsMax + 1 : Infinity;
  };
  return candidates
    .map((candidate) => ({ candidate, edits: apart(candidate) }))
    .filter(({ edits }) => edits < Infinity)
    .sort((a, b) => a.edits - b.edits)
    .map(({ candidate }) => candidate);
}

/** Returns the edits between two names, or Infinity where their lengths alone need more than that. */
function editsBetween(a: string, b: string, editsMax: number): number {
  return Math.abs(a.length - b.length) > editsMax ? Infinity : distance(a, b);
}

function overlaps(text: string, candidate: string): boolean {
  const [short, long] = text.length < candidate.length ? [text, candidate] : [candidate, text];
  return short.length >= 4 && (long.startsWith(short) || long.endsWith(short));
}

/** Reports whether a short text consists of letters of the candidate in their order, beginning with its first. */
function abbreviates(text: string, candidate: string): boolean {
  if (text.length < 3 || text[0] !== candidate[0]) return false;
  let at = 0;
  for (const letter of candidate) if (letter === text[at]) at += 1;
  return at === text.length;
}

/** Returns the Levenshtein distance. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 0; i < a.length; i++) {
    const next = [i + 1];
    for (let j = 0; j < b.length; j++) {
      const change = (row[j] ?? 0) + (a[i] === b[j] ? 0 : 1);
      next.push(Math.min(change, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
