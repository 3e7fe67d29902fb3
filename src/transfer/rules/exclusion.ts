import ignore, { type Ignore } from 'ignore';
import { fault } from '../../contract/errors.ts';

/** Exclusion rules of the user in gitignore syntax (gitignore(5)); a rule with `!` includes a path explicitly. */
export class Exclusion {
  readonly #rules: Ignore | undefined;

  /** Parses the rules. Faults: PATTERN_INVALID. */
  constructor(patterns: readonly string[]) {
    const lines = patterns.flatMap((pattern) => pattern.split(/\r?\n/u)).filter((line) => line.trim() !== '');
    const nul = lines.find((line) => line.includes('\0'));
    if (nul !== undefined) throw fault('PATTERN_INVALID', { pattern: nul, reason: 'it contains a NUL byte' });
    if (lines.length > 0) this.#rules = ignore({ ignorecase: false, allowRelativePaths: true }).add(lines);
  }

  /** Reports whether `path`, relative to the source, is excluded; its parents have been checked before. */
  excludes(path: string, isFolder: boolean): boolean {
    return this.#rules?.ignores(isFolder ? `${path}/` : path) ?? false;
  }

  /** Reports whether a rule includes a path that would be skipped by default. */
  wants(path: string, isFolder: boolean): boolean {
    return this.#rules?.test(isFolder ? `${path}/` : path).unignored ?? false;
  }
}
