/** Facts of a listed file. */
export interface ListedFile {
  readonly path: string;
  /** `st_mode` with type bits. */
  readonly mode: number;
  readonly nlink: number;
  readonly owner: string | number;
  readonly group: string | number;
  readonly size: number;
  /** Seconds since 1970. */
  readonly mtime: number;
  readonly is_symlink: boolean;
  readonly symlink_to: string;
}

const TYPES: readonly (readonly [number, string])[] = [
  [0o140000, 's'],
  [0o120000, 'l'],
  [0o100000, '-'],
  [0o060000, 'b'],
  [0o040000, 'd'],
  [0o020000, 'c'],
  [0o010000, 'p'],
];

/** `st_mode` as `ls -l` writes it, for example `-rwsr-xr-x`. */
export function formatMode(mode: number): string {
  const type = TYPES.find(([bits]) => (mode & 0o170000) === bits)?.[1] ?? '?';
  const triplet = (shift: number, special: boolean, letter: string): string => {
    const [executable, not] = special ? [letter, letter.toUpperCase()] : ['x', '-'];
    const last = (mode >> shift) & 1 ? executable : not;
    return `${(mode >> shift) & 4 ? 'r' : '-'}${(mode >> shift) & 2 ? 'w' : '-'}${last}`;
  };
  const owner = triplet(6, (mode & 0o4000) !== 0, 's');
  const group = triplet(3, (mode & 0o2000) !== 0, 's');
  return `${type}${owner}${group}${triplet(0, (mode & 0o1000) !== 0, 't')}`;
}

/** A directory as `ls -l` writes it, times in UTC. `name` escapes what the reader must not see raw. */
export function formatListing(files: readonly ListedFile[], name: (text: string) => string = (text) => text): string {
  const rows = files.map((file) => [
    formatMode(file.mode),
    String(file.nlink),
    String(file.owner),
    String(file.group),
    String(file.size),
    formatTime(file.mtime),
    name(file.path) + (file.is_symlink ? ` -> ${name(file.symlink_to)}` : ''),
  ]);
  const width = (column: number): number => Math.max(0, ...rows.map((row) => row[column]?.length ?? 0));
  const widths = [0, 1, 2, 3, 4].map(width);
  const lines = rows.map((row) =>
    row
      .map((cell, column) => {
        const space = widths[column] ?? 0;
        return column === 1 || column === 4 ? cell.padStart(space) : cell.padEnd(space);
      })
      .join(' '),
  );
  return lines.map((line) => `${line}\n`).join('');
}

/** First line of a listing as the hosted service writes it: the size of all entries. */
export function formatTotal(files: readonly Pick<ListedFile, 'size'>[]): string {
  const bytes = files.reduce((sum, { size }) => sum + size, 0);
  return `total ${(bytes / 1_024).toFixed(2)} KB\n`;
}

function formatTime(seconds: number): string {
  const date = new Date(seconds * 1000);
  return Number.isNaN(date.getTime()) ? '?'.padEnd(16) : date.toISOString().slice(0, 16).replace('T', ' ');
}
