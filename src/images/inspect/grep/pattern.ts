import { RE2JS } from 're2js';
import { fault } from '../../../contract/errors.ts';
import { limits } from '../../../contract/limits.ts';
import type { GrepQuery } from '../../../contract/inspect.ts';
import { present } from '../../../std/present.ts';
import { requiredRuns, type RequiredRun } from './runs.ts';

/** Number of texts up to which they are searched one by one, which is fastest. */
const LITERALS_MAX = 3;
/** Text without special characters of expressions. */
const PLAIN = /^[\p{L}\p{N} _\-:;,'"=<>@#%&~!/`]+$/u;
/** Characters beyond ASCII that fold to an ASCII letter, as bytes: K (Kelvin sign) and ſ (long s). */
const FOLDING = ['\u212a', '\u017f'].map((character) => Buffer.from(character));

/** Compiled pattern. */
export interface GrepPattern {
  readonly expression: RE2JS;
  /**
   * Returns the first place at or after `from` at which a line can match, to be checked with `expression`; −1 when no
   * line can. It is exact in one direction only: skipped lines do not match.
   */
  readonly nextPlace: (text: Text, from: number) => number;
  /** Text of a pattern that is plain text: every occurrence is a match. */
  readonly literal?: Buffer;
}

/** Part of a file in the forms in which it is searched; each form is created on first use. */
export class Text {
  readonly bytes: Buffer;
  #latin1: string | undefined;
  #folds: boolean | undefined;
  #matches: boolean | undefined;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  /** Returns the text with one character per byte. */
  get latin1(): string {
    this.#latin1 ??= this.bytes.toString('latin1');
    return this.#latin1;
  }

  /** Returns true when the text has a non-ASCII character that matches an ASCII letter without case. */
  get folds(): boolean {
    this.#folds ??= FOLDING.some((bytes) => this.bytes.includes(bytes));
    return this.#folds;
  }

  /** Reports whether the expression matches anywhere in the text. */
  matches(expression: RE2JS): boolean {
    this.#matches ??= expression.test(this.bytes.toString('utf8'));
    return this.#matches;
  }
}

/**
 * Compiles RE2 patterns, OR-ed as in ripgrep: matched per line, `^` and `$` at its ends. Faults: PATTERN_INVALID naming
 * the invalid pattern.
 */
export function compilePatterns(patterns: readonly string[], letters: GrepQuery['case'] = 'sensitive'): GrepPattern {
  if (patterns.length === 0 || patterns.length > limits.grepPatternsMax) {
    throw fault('ARGUMENT_INVALID', { reason: `give 1 to ${limits.grepPatternsMax} patterns` });
  }
  const insensitive = letters === 'insensitive' || (letters === 'smart' && patterns.every(isLowerCase));
  const flags = RE2JS.MULTILINE | (insensitive ? RE2JS.CASE_INSENSITIVE : 0);
  // Individually first: an invalid pattern must not become valid in combination with others.
  for (const pattern of patterns) {
    checkLength(pattern);
    compile(pattern, flags, pattern);
  }
  const joined = patterns.length === 1 ? (patterns[0] ?? '') : patterns.map((pattern) => `(?:${pattern})`).join('|');
  const expression = compile(joined, flags, joined);
  const runs = requiredRuns(patterns);
  const literal = !insensitive && patterns.length === 1 && PLAIN.test(joined) ? Buffer.from(joined) : undefined;
  return {
    ...present({ literal }),
    expression,
    nextPlace: runs ? placeByRuns(runs, insensitive) : placeByExpression(expression, patterns),
  };
}

function placeByRuns(runs: readonly RequiredRun[], insensitive: boolean): GrepPattern['nextPlace'] {
  const literals = [...new Set(runs.map(({ literal }) => literal))].filter((literal) => literal !== undefined);
  if (!insensitive && literals.length <= LITERALS_MAX && runs.every(({ literal }) => literal !== undefined)) {
    return placeByLiterals(literals.map((literal) => Buffer.from(literal)));
  }
  // No alternatives but the runs and no repetition: at most their length is examined per position.
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
    // Kept while one text is searched, so that no literal is searched twice.
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

/** Returns every line of a text in which the engine finds any match. */
function placeByExpression(expression: RE2JS, patterns: readonly string[]): GrepPattern['nextPlace'] {
  // In a text of many lines these would refer to the ends of the text, not of a line.
  const tied = patterns.some((pattern) => /\\[AzZ]|\(\?[a-zA-Z]*-?[a-zA-Z]*[sm]/u.test(pattern));
  return (text, from) => (from < text.bytes.length && (tied || text.matches(expression)) ? from : -1);
}

function checkLength(pattern: string): void {
  const most = limits.grepPatternCharactersMax;
  if (pattern.length <= most) return;
  throw fault('PATTERN_INVALID', { pattern: pattern.slice(0, 64), reason: `longer than ${most} characters` });
}

function compile(pattern: string, flags: number, shown: string): RE2JS {
  try {
    return RE2JS.compile(pattern, flags);
  } catch (error) {
    const reason = error instanceof Error ? error.message : 'not a regular expression';
    throw fault('PATTERN_INVALID', { pattern: shown.slice(0, 200), reason }, { cause: error });
  }
}

/** Reports whether a pattern has letters, none of them upper case; a character after a backslash does not count. */
function isLowerCase(pattern: string): boolean {
  const text = pattern.replaceAll(/\\(?:[pP]\{[^}]*\}|[pP].|x\{[^}]*\}|.)/gsu, '');
  return /\p{L}/u.test(text) && !/\p{Lu}/u.test(text);
}
