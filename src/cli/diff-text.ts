import type { DiffEntry, DiffResult } from '../contract/inspect.ts';
import type { Cli } from './cli.ts';
import { visible } from './text.ts';

const CHANGES = { added: 'A', removed: 'D', modified: 'M', metadata: 'm' } as const;

/** Returns one line per change, `M /etc/hosts  (12 → 40 bytes)`, followed by its patch where there is one. */
export function diffText(cli: Cli, { entries }: Pick<DiffResult, 'entries'>): string {
  const lines = entries.map(
    (entry) =>
      `${CHANGES[entry.change]} ${cli.name(entry.path)}${detailOf(entry)}\n${shownPatch(entry.patch, cli.host.stdout.isTTY)}`,
  );
  return lines.join('');
}

/** Returns the changes of size, mode and owner, if any. */
function detailOf({ type, size, size_before, mode, mode_before, owner, owner_before }: DiffEntry): string {
  if (mode === null || mode_before === null) return '';
  const octal = (value: number): string => (value & 0o7777).toString(8).padStart(4, '0');
  const parts = [
    ...(type === 'file' && size !== size_before ? [`${size_before} → ${size} bytes`] : []),
    ...(mode === mode_before ? [] : [`mode ${octal(mode_before)} → ${octal(mode)}`]),
    ...(owner === owner_before ? [] : [`owner ${owner_before} → ${owner}`]),
  ];
  return parts.length === 0 ? '' : `  (${parts.join(', ')})`;
}

/** Escapes everything that could steer a terminal, except line breaks and tabs. */
function shownPatch(patch: string | undefined, terminal: boolean | undefined): string {
  if (patch === undefined) return '';
  const text = patch.endsWith('\n') ? patch : `${patch}\n`;
  if (!terminal) return text;
  return text
    .split('\n')
    .map((line) => visible(line).replaceAll('\\t', '\t'))
    .join('\n');
}
