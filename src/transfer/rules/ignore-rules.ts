import ignore, { type Ignore } from 'ignore';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Folder } from '../folder.ts';
import type { Place } from '../roots.ts';
import { ruleLines } from './rule-lines.ts';

/** Files with the rules of a directory, the weakest first; the second is for the top of a repository. */
const RULE_FILES = ['.git/info/exclude', '.gitignore'];

export interface IgnoreOptions {
  /** True to leave out what git ignores. */
  readonly gitignore: boolean;
  /** True to bring `.git` directories. */
  readonly git: boolean;
  /** Rules of the user for all repositories, which every other rule goes before. */
  readonly userRules: readonly string[];
  /** Rules of the user for this source, which go before all others. */
  readonly exclude: readonly string[];
}

/**
 * Rules that leave out files of a source: what git ignores (gitignore(5)), in nested files too, and `.git` itself.
 * An instance is for one directory and what is below it.
 */
export class IgnoreRules {
  readonly #options: RuleOptions;
  /** Rules of git in this directory. */
  readonly #git: Ignore;
  /** The same, and then those of the user. */
  readonly #rules: Ignore;
  /** Rules of git in all directories that were entered, also of those that this one is not in. */
  readonly #lines: string[];

  private constructor(options: RuleOptions, git: Ignore, lines: string[]) {
    this.#options = options;
    this.#git = git;
    this.#lines = lines;
    const asked = options.exclude.flatMap((pattern) => pattern.split(/\r?\n/u));
    const own = asked.flatMap((line) => anchored(line, options.prefix) ?? []);
    this.#rules = parsed([]).add(git).add(own);
  }

  /**
   * Returns the rules for a source, without those of its own `.gitignore`: those of the directories above it, up to the
   * top of the repository it is in. If these ignore the source itself, it is wanted all the same, and they do not count.
   */
  static ofSource(place: Place, { gitignore, git, userRules, exclude }: IgnoreOptions): IgnoreRules {
    const lines = [...userRules, ...(git ? [] : ['.git'])];
    const own = new IgnoreRules({ gitignore, exclude: [], prefix: '' }, parsed(lines), lines);
    let rules = own.#with({}, [...lines]);
    let path = '';
    for (const { folder, name } of gitignore ? repositoryAbove(place) : []) {
      using open = Folder.open(folder);
      rules = rules.inFolder(open, path);
      path = path === '' ? name : `${path}/${name}`;
      if (rules.ignores(path, true)) return own.#with({ exclude });
    }
    return rules.#with({ exclude, prefix: path === '' ? '' : `${path}/` });
  }

  /** Returns the rules for a directory of the source, with those of its own files. */
  inFolder(folder: Folder, path: string): IgnoreRules {
    const { gitignore, prefix } = this.#options;
    if (!gitignore) return this;
    const base = prefix + (path === '' ? '' : `${path}/`);
    const lines = RULE_FILES.flatMap((name) => ruleLines(() => folder.openToRead(name))).flatMap(
      (line) => anchored(line, base) ?? [],
    );
    if (lines.length === 0) return this;
    this.#lines.push(...lines);
    return new IgnoreRules(this.#options, parsed([]).add(this.#git).add(lines), this.#lines);
  }

  /** Reports whether a path below the source is left out; its parents are not. */
  ignores(path: string, isFolder: boolean): boolean {
    return this.#rules.ignores(this.#options.prefix + (isFolder ? `${path}/` : path));
  }

  /** Returns the rules of all directories that were entered, together. */
  all(): IgnoreRules {
    return new IgnoreRules(this.#options, parsed(this.#lines), this.#lines);
  }

  #with(options: Partial<RuleOptions>, lines = this.#lines): IgnoreRules {
    return new IgnoreRules({ ...this.#options, ...options }, this.#git, lines);
  }
}

interface RuleOptions {
  readonly gitignore: boolean;
  /** Rules of the user for this source, relative to it. */
  readonly exclude: readonly string[];
  /** Path of the source below the top of its repository, to which all rules are relative; empty, or with a slash at its end. */
  readonly prefix: string;
}

/** Directory above a source, and the name in it that leads there. */
interface Above {
  readonly folder: string;
  readonly name: string;
}

/**
 * Returns the directories from the top of the repository that a source is in down to its parent; none when the source
 * is the top or in no repository. Directories that may not be read do not count.
 */
function repositoryAbove({ path, below }: Place): readonly Above[] {
  if (below === '' || !path.endsWith(`/${below}`)) return [];
  const names = below.split('/');
  const root = path.slice(0, -below.length);
  const above = names.map((name, at) => ({ folder: join(root, ...names.slice(0, at)), name }));
  if (existsSync(join(path, '.git'))) return [];
  const top = above.findLastIndex(({ folder }) => existsSync(join(folder, '.git')));
  return top === -1 ? [] : above.slice(top);
}

/**
 * Returns a rule of a file in the directory `base` (empty, or with a slash at its end) as a rule of the top directory;
 * undefined for a line without a rule.
 */
function anchored(line: string, base: string): string | undefined {
  if (line.trim() === '' || line.startsWith('#')) return undefined;
  const [, not = '', rule = ''] = /^(!?)(.*)$/su.exec(line) ?? [];
  const directory = base.replaceAll(/[\\*?[\]!# ]/gu, String.raw`\$&`);
  if (directory === '') return line;
  if (rule.startsWith('/')) return `${not}/${directory}${rule.slice(1)}`;
  // A rule without a slash, but for one at its end, is for every depth.
  return rule.slice(0, -1).includes('/') ? `${not}/${directory}${rule}` : `${not}/${directory}**/${rule}`;
}

function parsed(lines: readonly string[]): Ignore {
  return ignore({ ignorecase: false }).add(lines);
}
