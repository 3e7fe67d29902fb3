/**
 * Run of characters that every match of a pattern must contain: a fixed sequence of ASCII characters and sets. It is
 * given as the source of an expression without alternatives or repetition, so that any engine finds it in linear time.
 */
export interface RequiredRun {
  readonly source: string;
  /** The run as text, when it consists of single characters only. */
  readonly literal?: string;
}

interface Atom {
  readonly source: string;
  readonly character?: string;
}

/** Longest run: longer ones do not find less. */
const RUN_ATOMS_MAX = 64;
const REPEAT_MAX = 32;

/**
 * Returns the best run of each branch of each pattern, so that a plain search skips most lines. Returns undefined if a
 * branch has none, or contains syntax that is not understood here with certainty. Groups, `.`, negated sets, classes
 * beyond ASCII and optional parts end a run; they may match anything.
 */
export function requiredRuns(patterns: readonly string[]): readonly RequiredRun[] | undefined {
  const runs: RequiredRun[] = [];
  for (const pattern of patterns) {
    const branches = branchesOf(pattern);
    if (branches === undefined) return undefined;
    for (const branch of branches) {
      if (!isSelective(branch)) return undefined;
      runs.push(runOf(branch));
    }
  }
  return runs;
}

/** Reports whether a run is selective: one that occurs in nearly every line saves nothing. */
function isSelective(run: readonly Atom[]): boolean {
  return run.length >= 3 || run.filter(({ character }) => character !== undefined).length >= 2;
}

function runOf(atoms: readonly Atom[]): RequiredRun {
  const kept = atoms.slice(0, RUN_ATOMS_MAX);
  const source = kept.map((atom) => atom.source).join('');
  const characters = kept.map(({ character }) => character);
  return characters.includes(undefined) ? { source } : { source, literal: characters.join('') };
}

/** Returns the longest run of every top-level alternative. */
function branchesOf(pattern: string): (readonly Atom[])[] | undefined {
  const branches: { best: readonly Atom[]; run: Atom[] }[] = [{ best: [], run: [] }];
  const close = (): void => {
    const branch = branches.at(-1);
    if (branch && weight(branch.run) > weight(branch.best)) branch.best = branch.run;
    if (branch) branch.run = [];
  };
  for (let at = 0; at < pattern.length;) {
    const token = tokenOf(pattern.slice(at));
    if (token === undefined) return undefined;
    at += token.length;
    const quantifier = QUANTIFIER.exec(pattern.slice(at));
    at += quantifier?.[0].length ?? 0;
    if (token.kind === 'or') {
      close();
      branches.push({ best: [], run: [] });
      continue;
    }
    const run = branches.at(-1)?.run ?? [];
    const certain = timesOf(quantifier);
    if (token.kind === 'atom') for (let times = 0; times < certain.least; times++) run.push(token.atom);
    // A repeatable token, or one that is not a single character, need not be adjacent to what follows …
    if (token.kind === 'position' && quantifier === null) continue;
    if (token.kind === 'atom' && certain.exact) continue;
    close();
    // … but the last repetition is.
    if (token.kind === 'atom' && certain.least > 0) branches.at(-1)?.run.push(token.atom);
  }
  close();
  return branches.map(({ best }) => best);
}

/** Returns the weight of a run: single characters are more selective than sets. */
function weight(run: readonly Atom[]): number {
  return run.reduce((sum, { character }) => sum + (character === undefined ? 1 : 3), 0);
}

const QUANTIFIER = /^(?:([*+?])|\{(\d+)(,\d*)?\})\??/u;

function timesOf(quantifier: RegExpExecArray | null): { least: number; exact: boolean } {
  if (quantifier === null) return { least: 1, exact: true };
  const [, symbol, least = '0', more] = quantifier;
  if (symbol !== undefined) return { least: symbol === '+' ? 1 : 0, exact: false };
  const times = Number(least);
  return { least: Math.min(times, REPEAT_MAX), exact: more === undefined && times <= REPEAT_MAX };
}

type Token =
  | { readonly kind: 'atom'; readonly length: number; readonly atom: Atom }
  /** Token that matches no character. */
  | { readonly kind: 'position'; readonly length: number }
  /** Token that matches unknown characters. */
  | { readonly kind: 'something'; readonly length: number }
  | { readonly kind: 'or'; readonly length: number };

/** Sets of ASCII characters and ranges, which are equal in RE2 and JavaScript. */
const PLAIN_SET = /^\[(?:\\[dw\-\]\\^./]|[A-Za-z0-9_ !"#$%'()*+,./:;<=>?@`{|}~]|-(?=\])|[A-Za-z0-9]-[A-Za-z0-9])+\]/u;
const OTHER_SET = /^\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^\]\\])*\]/su;
/** Classes, which are ASCII only in RE2; `\s` differs from JavaScript's. */
const CLASSES: Readonly<Record<string, string>> = { d: '[0-9]', w: '[0-9A-Za-z_]', s: String.raw`[\t\n\f\r ]` };

/** Returns the first token of a pattern's rest; undefined when it is not certain. */
function tokenOf(rest: string): Token | undefined {
  const [first = ''] = rest;
  switch (first) {
    case '|':
      return { kind: 'or', length: 1 };
    case '^':
    case '$':
      return { kind: 'position', length: 1 };
    case '.':
      return { kind: 'something', length: 1 };
    case '(':
      return groupOf(rest);
    case '[':
      return setOf(rest);
    case '\\':
      return escapeOf(rest);
    case '*':
    case '+':
    case '?':
    case '{':
    case '}':
    case ']':
    case ')':
      return undefined;
    default:
      return plainOf(String.fromCodePoint(rest.codePointAt(0) ?? 0));
  }
}

function plainOf(character: string, length: number = character.length): Token {
  if (character > '~' || character < ' ') return { kind: 'something', length };
  return {
    kind: 'atom',
    length,
    atom: { character, source: character.replace(/[\\^$.*+?()[\]{}|/]/u, String.raw`\$&`) },
  };
}

function setOf(rest: string): Token | undefined {
  const plain = PLAIN_SET.exec(rest)?.[0];
  if (plain !== undefined) return { kind: 'atom', length: plain.length, atom: { source: plain } };
  const other = OTHER_SET.exec(rest)?.[0];
  return other === undefined ? undefined : { kind: 'something', length: other.length };
}

function escapeOf(rest: string): Token | undefined {
  const letter = rest[1] ?? '';
  const source = CLASSES[letter];
  if (source !== undefined) return { kind: 'atom', length: 2, atom: { source } };
  if (letter === 'b' || letter === 'B') return { kind: 'position', length: 2 };
  if ('DWS'.includes(letter) && letter !== '') return { kind: 'something', length: 2 };
  const property = /^\\[pP](?:\{[^}]*\}|[A-Za-z])/u.exec(rest)?.[0];
  if (property !== undefined) return { kind: 'something', length: property.length };
  return /^[^\p{L}\p{N}\s]$/u.test(letter) ? plainOf(letter, 2) : undefined;
}

/** Parses a group, which may contain anything; one that sets flags changes what follows and is not understood. */
function groupOf(rest: string): Token | undefined {
  if (/^\(\?[^:P<]/u.test(rest)) return undefined;
  let depth = 0;
  for (let at = 0; at < rest.length; at++) {
    const set = rest[at] === '[' ? OTHER_SET.exec(rest.slice(at))?.[0] : undefined;
    if (set !== undefined) at += set.length - 1;
    else if (rest[at] === '\\') at += 1;
    else if (rest[at] === '(') depth += 1;
    else if (rest[at] === ')') depth -= 1;
    if (depth === 0) return { kind: 'something', length: at + 1 };
  }
  return undefined;
}
