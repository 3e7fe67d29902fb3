import { RE2JS } from 're2js';
import { dockerfileFault } from './faults.ts';

/** Test of a path: relative, without `.` and empty parts. */
export type PathTest = (path: string) => boolean;

const PATTERN_CHARACTERS_MAX = 4_096;

/** Reports whether a source of COPY or ADD is a pattern. */
export function isPattern(text: string): boolean {
  return /[*?[\\]/u.test(text);
}

/**
 * Returns the test of a pattern with the rules of Go's `filepath.Match`: `*` and `?` stop at slashes, `[a-z]` and `[^a-z]`
 * are classes, `\` takes the next character literally. With `doubleStar`, `**` also crosses slashes, as in .dockerignore
 * and in COPY --parents. Faults: DOCKERFILE_INVALID.
 */
export function pathTest(pattern: string, line: number, { doubleStar = false } = {}): PathTest {
  if (pattern.length > PATTERN_CHARACTERS_MAX) {
    throw dockerfileFault(line, `a pattern is longer than ${PATTERN_CHARACTERS_MAX} characters`);
  }
  // Most patterns need no expression.
  if (!isPattern(pattern)) return (path) => path === pattern;
  const [, slash, star, suffix] = (doubleStar ? /^\*\*(\/?)(\*?)([^*?[\]\\/]+)$/u.exec(pattern) : null) ?? [];
  if (suffix !== undefined && (slash === '' || star === '*')) return (path) => path.endsWith(suffix);
  if (suffix !== undefined) return (path) => path === suffix || path.endsWith(`/${suffix}`);
  try {
    const compiled = RE2JS.compile(expressionOf(pattern, line, doubleStar), RE2JS.DOTALL);
    return (path) => compiled.testExact(path);
  } catch (error) {
    if (error instanceof Error && error.name === 'ContreeError') throw error;
    throw invalid(pattern, line, 'it is not a pattern');
  }
}

function expressionOf(pattern: string, line: number, doubleStar: boolean): string {
  let expression = '';
  for (let at = 0; at < pattern.length;) {
    const [token, meaning] = tokenOf(pattern, at, line, doubleStar);
    expression += meaning;
    at += token.length;
  }
  return expression;
}

/** Returns the token at `at` and its expression. */
function tokenOf(pattern: string, at: number, line: number, doubleStar: boolean): readonly [string, string] {
  const rest = pattern.slice(at);
  const stars = /^\*+/u.exec(rest)?.[0];
  if (stars !== undefined && doubleStar && stars.length > 1) {
    const token = rest[stars.length] === '/' ? `${stars}/` : stars;
    return [token, token.length === rest.length ? '.*' : '(?:.*/)?'];
  }
  if (stars !== undefined) return [stars, '[^/]*'];
  const set = /^\[(\^?)((?:\\.|[^\]\\])+)\]/su.exec(rest);
  if (set) return [set[0], `[${set[1] === '^' ? '^/' : ''}${classOf(set[2] ?? '')}]`];
  const first = String.fromCodePoint(rest.codePointAt(0) ?? 0);
  if (first === '?') return [first, '[^/]'];
  if (first === '[') throw invalid(pattern, line, 'its [ has no end');
  if (first !== '\\') return [first, RE2JS.quote(first)];
  const escaped = rest.codePointAt(1);
  if (escaped === undefined) throw invalid(pattern, line, 'it ends in a \\');
  return [`\\${String.fromCodePoint(escaped)}`, RE2JS.quote(String.fromCodePoint(escaped))];
}

/** Returns the expression of a set. Only `-` is special in it; other special characters are escaped. */
function classOf(set: string): string {
  return set.replaceAll(/\\(.)/gsu, '$1').replaceAll(/[[\]\\^&~]/gu, String.raw`\$&`);
}

function invalid(pattern: string, line: number, reason: string): Error {
  return dockerfileFault(line, `the pattern ${JSON.stringify(pattern.slice(0, 80))} is wrong: ${reason}`);
}
