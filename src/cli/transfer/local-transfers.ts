import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { hashCacheFile, userIgnoreFile } from '../../config/index.ts';
import type { LocalFolders } from '../../transfer/local-folders.ts';
import type { Cli } from '../cli.ts';
import type { ProgressLine } from '../terminal/progress.ts';
import { formatBytes } from '../text.ts';

/** Transfers that may reach every local file: on a command line it is the user who names the files. */
export async function openTransfers(cli: Cli): Promise<LocalFolders> {
  // Loaded on demand: most commands transfer no files.
  const { LocalFolders: Folders } = await import('../../transfer/local-folders.ts');
  const { settings, host } = cli;
  const cache = { path: hashCacheFile(settings, host.env), keptDays: settings.cachePruneDays };
  return new Folders({ roots: ['/'], cache, namedBy: 'user', userIgnoreFile: userIgnoreFile(host.env) });
}

/** Returns the absolute form of a path typed by the user. */
export function absolutePath(path: string): string {
  return path === '~' || path.startsWith('~/') ? join(homedir(), path.slice(1)) : resolve(path);
}

interface Step {
  readonly done: number;
  readonly total?: number;
  readonly what: string;
}

/** Returns a callback that shows the steps of a transfer; `unit` is what they count. */
export function shownSteps(line: ProgressLine, unit: 'bytes' | 'files'): (step: Step) => void {
  const count = (value: number): string => (unit === 'bytes' ? formatBytes(value) : String(value));
  return ({ done, total, what }) => {
    line.show(`${what}: ${count(done)}${total === undefined ? '' : ` of ${count(total)}`}`, done, total);
  };
}
