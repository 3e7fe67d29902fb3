import { posix } from 'node:path';
import { limits } from '../contract/limits.ts';
import { dockerfileFault } from './faults.ts';
import { pathTest, type PathTest } from './path-pattern.ts';

interface IgnoreRule {
  readonly negated: boolean;
  readonly matches: PathTest;
}

/**
 * Rules of a .dockerignore file, or of `--exclude`. A pattern also matches what is below a directory it matches; the
 * last matching pattern decides; one with `!` takes in again. Source: "Dockerfile reference", .dockerignore file.
 */
export class DockerIgnore {
  readonly #rules: readonly IgnoreRule[];
  readonly #takesIn: boolean;

  private constructor(rules: readonly IgnoreRule[]) {
    this.#rules = rules;
    this.#takesIn = rules.some(({ negated }) => negated);
  }

  /** Parses a .dockerignore file. Faults: DOCKERFILE_INVALID with the line of that file. */
  static parse(text: string): DockerIgnore {
    if (Buffer.byteLength(text) > limits.dockerfileBytesMax) {
      throw dockerfileFault(1, `the ignore file is larger than ${limits.dockerfileBytesMax} bytes`);
    }
    const lines = text.replace(/^\uFEFF/u, '').split('\n');
    const rules = lines.map((line, index) => (line.startsWith('#') ? undefined : ruleOf(line, index + 1)));
    const kept = rules.filter((rule) => rule !== undefined);
    if (kept.length > limits.dockerignoreRulesMax) {
      throw dockerfileFault(1, `the ignore file has more than ${limits.dockerignoreRulesMax} patterns`);
    }
    return new DockerIgnore(kept);
  }

  /** Parses the values of `--exclude` at a line. Faults: DOCKERFILE_INVALID. */
  static ofPatterns(patterns: readonly string[], line: number): DockerIgnore {
    return new DockerIgnore(patterns.map((pattern) => ruleOf(pattern, line)).filter((rule) => rule !== undefined));
  }

  /** Reports whether nothing is ignored. */
  get isEmpty(): boolean {
    return this.#rules.length === 0;
  }

  /** Reports whether a path, relative to the context, is left out. */
  ignores(path: string): boolean {
    const paths = pathAndParents(path);
    const last = this.#rules.findLast(({ matches }) => paths.some((candidate) => matches(candidate)));
    return last !== undefined && !last.negated;
  }

  /** Reports whether everything below an ignored directory is left out too, so that it need not be read. */
  ignoresAllBelow(path: string): boolean {
    return !this.#takesIn && this.ignores(path);
  }
}

function ruleOf(text: string, line: number): IgnoreRule | undefined {
  const trimmed = text.trim();
  const negated = trimmed.startsWith('!');
  const bare = (negated ? trimmed.slice(1) : trimmed).trim();
  if (bare === '') {
    if (negated) throw dockerfileFault(line, 'a ! without a pattern');
    return undefined;
  }
  const pattern = posix.normalize(bare).replace(/^\/+/u, '').replace(/\/+$/u, '');
  if (pattern === '' || pattern === '.') return undefined;
  return { negated, matches: pathTest(pattern, line, { doubleStar: true }) };
}

/** Returns the path and all directories above it. */
function pathAndParents(path: string): string[] {
  const paths = [path];
  for (let at = path.lastIndexOf('/'); at > 0; at = path.lastIndexOf('/', at - 1)) paths.push(path.slice(0, at));
  return paths;
}
