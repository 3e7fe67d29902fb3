import { RE2JS } from 're2js';
import { fault } from '../../../contract/errors.ts';
import type { GrepQuery } from '../../../contract/inspect.ts';
import { requiredRuns, type RequiredRun } from './runs.ts';

const PATTERN_CHARACTERS_MAX = 64 * 1024;
const PATTERNS_MAX = 100;
/** Up to so many texts are searched for one by one, which is the fastest there is. */
const LITERALS_MAX = 3;
/** No character that means something else in an expression. */
const PLAIN = /^[\p{L}\p{N} _\-:;,'"=<>@#%&~!/`]+$/u;
/** Characters beyond ASCII that fold to an ASCII letter, as bytes: K (Kelvin sign) and ſ (long s). */
const FOLDING = ['\u212a', '\u017f'].map((character) => Buffer.from(character));

/** What a search looks for, compiled. */
export interface GrepPattern {
  readonly expression: RE2JS;
  /**
   * The first place at or after `from` at which a line can match, to be checked with `expression`; −1 when no line does. Exact
   * in one direction only: what it passes over does not match.
   */
  readonly nextPlace: (text: Text, from: number) => number;
  /** The text itself, when the pattern is nothing but that: then where it is found it matches. */
  readonly literal?: Buffer;
}

/** A stretch of a file, in the forms in which it may be searched; each is made once, when it is first wanted. */
export class Text {
  readonly bytes: Buffer;
  #latin1: string | undefined;
  #folds: boolean | undefined;
  #matches: boolean | undefined;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  /** One character per byte. */
  get latin1(): string {
    this.#latin1 ??= this.bytes.toString('latin1');
    return this.#latin1;
  }

  /** Holds a character that matches an ASCII letter if case does not count. */
  get folds(): boolean {
    this.#folds ??= FOLDING.some((bytes) => this.bytes.includes(bytes));
    return this.#folds;
  }

  /** Whether the expression matches anywhere in it. */
  matches(expression: RE2JS): boolean {
    this.#matches ??= expression.test(this.bytes.toString('utf8'));
    return this.#matches;
  }
}

/**
 * Patterns are RE2's, OR-ed, as ripgrep does: matched per line, `^` and `$` at its ends. Faults: PATTERN_INVALID naming
 * the pattern that is wrong.
 */
export function compilePatterns(patterns: readonly string[], letters: GrepQuery['case'] = 'sensitive'): GrepPattern {
  if (patterns.length === 0 || patterns.length > PATTERNS_MAX) {
    throw fault('ARGUMENT_INVALID', { reason: `give 1 to ${PATTERNS_MAX} patterns` });
  }
  const insensitive = letters === 'insensitive' || (letters === 'smart' && patterns.every(isLowerCase));
  const flags = RE2JS.MULTILINE | (insensitive ? RE2JS.CASE_INSENSITIVE : 0);
  // One by one first: a pattern that is wrong by itself must not become right by what stands around it.
  for (const pattern of patterns) compile(pattern, flags, pattern);
  const joined = patterns.length === 1 ? (patterns[0] ?? '') : patterns.map((pattern) => `(?:${pattern})`).join('|');
  const expression = compile(joined, flags, joined);
  const runs = requiredRuns(patterns);
  const literal = !insensitive && patterns.length === 1 && PLAIN.test(joined) ? Buffer.from(joined) : undefined;
  return {
    ...(literal && { literal }),
    expression,
    nextPlace: runs ? placeByRuns(runs, insensitive) : placeByExpression(expression, patterns),
  };
}

function placeByRuns(runs: readonly RequiredRun[], insensitive: boolean): GrepPattern['nextPlace'] {
  const literals = [...new Set(runs.map(({ literal }) => literal))].filter((literal) => literal !== undefined);
  if (!insensitive && literals.length <= LITERALS_MAX && runs.every(({ literal }) => literal !== undefined)) {
    return placeByLiterals(literals.map((literal) => Buffer.from(literal)));
  }
  // No choice but between runs and no repetition: at most their length is looked at per place.
  const run = new RegExp(runs.map(({ source }) => source).join('|'), insensitive ? 'gi' : 'g');
  return (text, from) => {
    if (insensitive && text.folds) return from < text.bytes.length ? from : -1;
    run.lastIndex = from;
    return run.exec(text.latin1)?.index ?? -1;
  };
}

function placeByLiterals(literals: readonly Buffer[]): GrepPattern['nextPlace'] {
  const [only] = literals;
  if (literals.length === 1 && only) return ({ bytes }, from) => bytes.indexOf(only, from);
  let searched: Text | undefined;
  let places: number[] = [];
  return (text, from) => {
    // Kept while one text is searched, so that none of the literals is searched for twice.
    if (searched !== text) places = literals.map(() => -2);
    searched = text;
    for (const [index, literal] of literals.entries()) {
      const place = places[index] ?? -1;
      if (place !== -1 && place < from) places[index] = text.bytes.indexOf(literal, from);
    }
    const found = places.filter((place) => place >= 0);
    return found.length === 0 ? -1 : Math.min(...found);
  };
}

/** Every line, of a text in which the engine finds something at all. */
function placeByExpression(expression: RE2JS, patterns: readonly string[]): GrepPattern['nextPlace'] {
  // Within a text of many lines these would be tied to the ends of the text, not of a line.
  const tied = patterns.some((pattern) => /\\[AzZ]|\(\?[a-zA-Z]*-?[a-zA-Z]*[sm]/u.test(pattern));
  return (text, from) => (from < text.bytes.length && (tied || text.matches(expression)) ? from : -1);
}

function compile(pattern: string, flags: number, shown: string): RE2JS {
  if (pattern.length > PATTERN_CHARACTERS_MAX) {
    throw fault('PATTERN_INVALID', { pattern: pattern.slice(0, 64), reason: `longer than ${PATTERN_CHARACTERS_MAX}` });
  }
  try {
    return RE2JS.compile(pattern, flags);
  } catch (error) {
    const reason = error instanceof Error ? error.message : 'not a regular expression';
    throw fault('PATTERN_INVALID', { pattern: shown.slice(0, 200), reason }, { cause: error });
  }
}

/** Has letters, and none of them upper case; what follows a backslash is not a letter of the text. */
function isLowerCase(pattern: string): boolean {
  const text = pattern.replaceAll(/\\(?:[pP]\{[^}]*\}|[pP].|x\{[^}]*\}|.)/gsu, '');
  return /\p{L}/u.test(text) && !/\p{Lu}/u.test(text);
}
