import { posix } from 'node:path';

/** One test that holds an attack: a file, and which of its tests; all of them where none is named. */
export interface HeldBy {
  readonly file: string;
  /** Beginnings of names; `…` stands for anything. */
  readonly names: readonly string[];
}

/** One row of a table of docs/attacks.md. */
export interface Attack {
  /** `38`, `F5`. */
  readonly item: string;
  readonly attack: string;
  /** Empty while nothing holds it. */
  readonly tests: readonly HeldBy[];
}

const ROW = /^\| (F?\d+) \| (.*?) \| (.*?) \|$/gmu;
/** A file in code marks, by its path or beside the one before it, or the name of a test in quotation marks. */
const REFERENCE = /`([^`]*\.test\.ts)`|"([^"]+)"/gu;

/** The rows of docs/attacks.md with the tests that they name. */
export function attacksOf(markdown: string): Attack[] {
  return [...markdown.matchAll(ROW)].map(([, item = '', attack = '', cell = '']) => ({
    item,
    attack,
    tests: testsOf(cell),
  }));
}

function testsOf(cell: string): HeldBy[] {
  const found: { file: string; names: string[] }[] = [];
  for (const [, path, name] of cell.matchAll(REFERENCE)) {
    const last = found.at(-1);
    if (name !== undefined) last?.names.push(name);
    else if (path !== undefined) {
      const folder = posix.dirname(last?.file ?? '');
      found.push({ file: path.includes('/') ? path : posix.join(folder, path), names: [] });
    }
  }
  return found;
}

/** What finds the names that begin like that, in a list of names or in the source of the tests. */
export function nameBeginning(name: string): RegExp {
  const parts = name.split('…').map((part) => part.trim().replaceAll(/[.*+?^${}()|[\]\\]/gu, String.raw`\$&`));
  return new RegExp(`^${parts.join('.*')}`, 'u');
}
