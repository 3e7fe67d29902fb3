import { RE2JS } from 're2js';
import { fault, type GrepQuery } from '../contract/index.ts';
import { requiredLiterals } from './grep-literals.ts';

const PATTERN_CHARACTERS_MAX = 64 * 1024;
const PATTERNS_MAX = 100;

/** What a search looks for, compiled. */
export interface GrepPattern {
  readonly expression: RE2JS;
  /**
   * Whether a text of several lines can hold a matching line. Exact in one direction: false means that none matches.
   */
  readonly mayMatch: (text: string) => boolean;
  /** Bytes of which every matching line holds one; absent where the patterns allow no such statement. */
  readonly literals?: readonly Buffer[];
  /** The literals are all there is to match: a line that holds one matches. */
  readonly literalsOnly: boolean;
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
  // Within a text of many lines these would be tied to the ends of the text, not of a line.
  const tied = patterns.some((pattern) => /\\[AzZ]|\(\?[a-zA-Z]*-?[a-zA-Z]*[sm]/u.test(pattern));
  const found = insensitive ? undefined : requiredLiterals(patterns);
  return {
    expression,
    mayMatch: tied ? () => true : (text) => expression.test(text),
    ...(found && { literals: found.literals.map((literal) => Buffer.from(literal, 'utf8')) }),
    literalsOnly: found?.complete ?? false,
  };
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
