import { readFileSync } from 'node:fs';

const START = '## Differences from the hosted service';

/** Returns the differences that COMPATIBILITY.md lists: the code in the first column of its table, each with its reason. */
export function listedDifferences(): ReadonlyMap<string, string> {
  const page = readFileSync('COMPATIBILITY.md', 'utf8');
  const [, section = ''] = page.split(START);
  const rows = section.split('\n').filter((line) => line.startsWith('| `'));
  const cells = rows.map((row) => row.split(/(?<!\\)\|/u).slice(1, -1));
  return new Map(
    cells.flatMap(([names = '', ...reason]) =>
      [...names.matchAll(/`([^`]+)`/gu)].map(([, name = '']) => [name, reason.join(' ').trim()] as const),
    ),
  );
}
