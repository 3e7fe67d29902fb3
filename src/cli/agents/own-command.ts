import { plainDataDir } from '../../config/index.ts';
import { fault } from '../../contract/errors.ts';
import type { Cli } from '../cli.ts';

/** Caches of npx and uvx, which are cleaned from time to time. */
const CACHED = /[\\/](?:_npx|uv[\\/](?:archive|environments|builds)-v\d+)[\\/]/u;

/**
 * Returns the words that start this command line again, with the settings that select its store. Faults: ARGUMENT_INVALID
 * where they would not last.
 */
export function ownCommand({ host, settings }: Cli): readonly string[] {
  const { url, dataDir } = settings;
  if (host.self.some((word) => CACHED.test(word))) {
    throw fault('ARGUMENT_INVALID', {
      reason: 'a hook cannot be started from a cache; install contree-mcp, for example with npm -g',
    });
  }
  if (url !== '') return [...host.self, '--url', url];
  return dataDir === plainDataDir(host.env) ? host.self : [...host.self, '--data-dir', dataDir];
}

/** Returns words as one line for a POSIX shell. */
export function shellLine(words: readonly string[]): string {
  return words.map(quoted).join(' ');
}

/** Quotes a word. A quotation mark in it is quoted too, not escaped: Codex applies its rules to no word with a backslash. */
function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/u.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`;
}
