import { RE2JS } from 're2js';
import { fault } from '../../../contract/errors.ts';

const GLOB_CHARACTERS_MAX = 1_024;

/** Filter of the paths (absolute in the image, without leading slash) that are searched. */
export interface GlobFilter {
  readonly acceptsFile: (path: string) => boolean;
  /** Returns false for a directory that is excluded with everything below it. */
  readonly entersDirectory: (path: string) => boolean;
}

interface Rule {
  readonly negated: boolean;
  readonly directoriesOnly: boolean;
  readonly matches: (path: string) => boolean;
}

/**
 * Returns a filter with the semantics of `rg -g`: gitignore globs, inverted. A glob without a slash matches a name at
 * any depth, one with a slash a path from the root; `!` excludes; the last matching glob decides; if there is a glob
 * without `!`, files that match none are excluded. Globs become expressions for the linear-time engine, because glob
 * libraries backtrack (`*a*a*a*a*a*b` on a long name). Throws PATTERN_INVALID.
 */
export function globFilter(globs: readonly string[]): GlobFilter {
  const rules = globs.map(parseRule).toReversed();
  const hasWhitelist = rules.some(({ negated }) => !negated);
  const decide = (path: string, isDirectory: boolean): boolean | undefined => {
    const rule = rules.find(({ directoriesOnly, matches }) => (isDirectory || !directoriesOnly) && matches(path));
    return rule === undefined ? undefined : !rule.negated;
  };
  return {
    acceptsFile: (path) => decide(path, false) ?? !hasWhitelist,
    entersDirectory: (path) => decide(path, true) ?? true,
  };
}

function parseRule(glob: string): Rule {
  if (glob.length > GLOB_CHARACTERS_MAX)
    throw invalid(glob.slice(0, 64), `longer than ${GLOB_CHARACTERS_MAX} characters`);
  const negated = glob.startsWith('!');
  const bare = glob.slice(negated ? 1 : 0).replace(/^\\(?=[!#])/u, '');
  const directoriesOnly = bare.endsWith('/');
  const body = directoriesOnly ? bare.slice(0, -1) : bare;
  if (body === '') throw invalid(glob, 'matches nothing');
  // The most common globs, such as `*.py`, need no expression.
  const suffix = /^\*([^*?[\]{}\\/]+)$/u.exec(body)?.[1];
  if (suffix !== undefined) return { negated, directoriesOnly, matches: (path) => path.endsWith(suffix) };
  const anchored = body.includes('/');
  const expression = expressionOf(glob, anchored ? body.replace(/^\//u, '') : body);
  try {
    const pattern = RE2JS.compile(anchored ? expression : `(?:.*/)?${expression}`, RE2JS.DOTALL);
    return { negated, directoriesOnly, matches: (path) => pattern.testExact(path) };
  } catch (error) {
    throw invalid(glob, error instanceof Error ? error.message : 'not a glob');
  }
}

/**
 * Returns the expression of a glob: `*` and `?` stop at slashes, `**` between slashes does not; `[…]`, `{a,b}` and `\`
 * work as in a shell.
 */
function expressionOf(glob: string, body: string): string {
  let expression = '';
  let depth = 0;
  for (let at = 0; at < body.length;) {
    const rest = body.slice(at);
    const [token, meaning] = tokenOf(glob, rest, at === 0 || body[at - 1] === '/', depth);
    expression += meaning;
    if (token === '{') depth += 1;
    if (token === '}') depth -= 1;
    at += token.length;
  }
  if (depth > 0) throw invalid(glob, 'has an open {');
  return expression;
}

/** Returns the first token of a glob's rest and its expression. */
function tokenOf(glob: string, rest: string, atStart: boolean, depth: number): readonly [string, string] {
  if (atStart && rest.startsWith('**/')) return ['**/', '(?:.*/)?'];
  if (atStart && rest === '**') return ['**', '.+'];
  const stars = /^\*+/u.exec(rest)?.[0];
  if (stars !== undefined) return [stars, '[^/]*'];
  const set = /^\[([!^]?)(\]?(?:\\.|[^\]\\])*)\]/su.exec(rest);
  if (set) return [set[0], `[${set[1] ? '^/' : ''}${classOf(set[2] ?? '')}]`];
  const [first = ''] = rest;
  switch (first) {
    case '?':
      return [first, '[^/]'];
    case '[':
      throw invalid(glob, 'has an open [');
    case '{':
      return [first, '(?:'];
    case '}':
      if (depth === 0) throw invalid(glob, 'has a } without {');
      return [first, ')'];
    case ',':
      return depth > 0 ? [first, '|'] : [first, first];
    case '\\': {
      const escaped = String.fromCodePoint(rest.codePointAt(1) ?? 0x5c);
      return [rest.length > 1 ? `\\${escaped}` : '\\', RE2JS.quote(escaped)];
    }
    default: {
      const character = String.fromCodePoint(rest.codePointAt(0) ?? 0);
      return [character, RE2JS.quote(character)];
    }
  }
}

/** Returns the expression of a set. Only `-` is special in it; other special characters are escaped. */
function classOf(set: string): string {
  return set.replaceAll(/\\(.)/gsu, '$1').replaceAll(/[[\]\\^&~]/gu, String.raw`\$&`);
}

function invalid(pattern: string, reason: string): Error {
  return fault('PATTERN_INVALID', { pattern, reason });
}
