import { execFile } from 'node:child_process';
import { constants, openSync } from 'node:fs';
import { isAbsolute } from 'node:path';
import { ruleLines } from './rule-lines.ts';

const GIT_MS_MAX = 5_000;
/** Non-blocking: a FIFO must not make us wait for its other end. */
const READ_FLAGS = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY;

/**
 * Returns the lines of the user's ignore file for all repositories (gitignore(5)): the one that git's configuration
 * names as `core.excludesFile`, otherwise `defaultFile`. Without such a file there are none.
 */
export async function userRules(defaultFile: string, signal: AbortSignal): Promise<readonly string[]> {
  const path = (await configuredFile(signal)) ?? defaultFile;
  return isAbsolute(path) ? ruleLines(() => openSync(path, READ_FLAGS)) : [];
}

/**
 * Asks git for `core.excludesFile`; undefined when it is not set, or there is no git. Not asked in the source: a
 * repository of others could name any file there, and learn its lines by what they leave out.
 */
async function configuredFile(signal: AbortSignal): Promise<string | undefined> {
  const { promise, resolve } = Promise.withResolvers<string | undefined>();
  const args = ['config', '--null', '--type=path', '--get', 'core.excludesFile'];
  const options = { cwd: '/', timeout: GIT_MS_MAX, killSignal: 'SIGKILL', signal } as const;
  execFile('git', args, options, (error, stdout) => resolve(error === null ? stdout.replace(/\0$/u, '') : undefined));
  const path = await promise;
  signal.throwIfAborted();
  return path;
}
