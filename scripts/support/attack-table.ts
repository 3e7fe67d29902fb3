import { readFileSync } from 'node:fs';
import { posix } from 'node:path';

/** Reference to tests of an attack: a file, and which of its tests; without names, all of them. */
export interface HeldBy {
  readonly file: string;
  /** Prefixes of test names; `…` stands for any text. */
  readonly names: readonly string[];
}

/** Row of a table in docs/attacks.md. */
export interface Attack {
  /** `38`, `F5`. */
  readonly item: string;
  readonly attack: string;
  /** Empty while no test covers it. */
  readonly tests: readonly HeldBy[];
  /** Tests that try it on a gVisor sandbox; empty where it is not about one. */
  readonly gvisor: readonly HeldBy[];
}

const ROW = /^\| (F?\d+) \| (.*?) \| (.*?) \| (.*?) \|$/gmu;
/** Word of the last column: the tests are those of the microVM. */
const SAME = 'same';
/** Tests that start guests; the others are the same on every sandbox. */
export const WITH_GUESTS: RegExp = /^test\/(?:vm|e2e)\//u;
/** A file in backquotes, with its path or next to a file with one, or the name of a test in quotation marks. */
const REFERENCE = /`([^`]*\.test\.ts)`|"([^"]+)"/gu;

/** Returns the rows of docs/attacks.md with the tests that they name. */
export function attacksOf(markdown: string): Attack[] {
  return [...markdown.matchAll(ROW)].map(([, item = '', attack = '', cell = '', gvisor = '']) => {
    const tests = testsOf(cell);
    const same = tests.filter(({ file }) => WITH_GUESTS.test(file));
    return { item, attack, tests, gvisor: gvisor === SAME ? same : testsOf(gvisor) };
  });
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

/** Returns a pattern for names with this prefix, in a list of names or in the source of the tests. */
export function nameBeginning(name: string): RegExp {
  const parts = name.split('…').map((part) => part.trim().replaceAll(/[.*+?^${}()|[\]\\]/gu, String.raw`\$&`));
  return new RegExp(`^${parts.join('.*')}`, 'u');
}

/** Returns the files with the tests of a test file: itself, and the suites of `test/conformance` that it runs. */
export function sourcesOf(file: string): string[] {
  const suites = readFileSync(file, 'utf8').matchAll(/from '(\.\.\/conformance\/[\w-]+\.ts)'/gu);
  return [file, ...[...suites].map(([, path = '']) => posix.join(posix.dirname(file), path))];
}
