import ignore, { type Ignore } from 'ignore';
import { fault } from '../contract/errors.ts';

/** What the user leaves out, in gitignore's syntax (gitignore(5)); what a rule with `!` names is wanted expressly. */
export class Exclusion {
  readonly #rules: Ignore | undefined;

  /** Faults: PATTERN_INVALID. */
  constructor(patterns: readonly string[]) {
    const lines = patterns.flatMap((pattern) => pattern.split(/\r?\n/u)).filter((line) => line.trim() !== '');
    const nul = lines.find((line) => line.includes('\0'));
    if (nul !== undefined) throw fault('PATTERN_INVALID', { pattern: nul, reason: 'it contains a NUL byte' });
    if (lines.length > 0) this.#rules = ignore({ ignorecase: false, allowRelativePaths: true }).add(lines);
  }

  /** `path` is relative to the source; its parents have been asked about before. */
  excludes(path: string, isFolder: boolean): boolean {
    return this.#rules?.ignores(isFolder ? `${path}/` : path) ?? false;
  }

  /** Whether a rule brings back what would be left out otherwise. */
  wants(path: string, isFolder: boolean): boolean {
    return this.#rules?.test(isFolder ? `${path}/` : path).unignored ?? false;
  }
}
