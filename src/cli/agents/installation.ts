import { existsSync, realpathSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import type { CliHost } from '../host.ts';
import type { ServerCommand } from './agent-config.ts';

/** Folders in which programs started from a desktop look for others, whatever the user's shell adds. */
const DESKTOP_PATH = ['/usr/local/bin', '/usr/bin', '/bin'];

/** Way in which the server of this installation is started. */
export interface Installation {
  /** Path of `contree-mcp`. */
  readonly launcher: string;
  /** Path of the Node that runs it; undefined where desktop programs find the same one by themselves. */
  readonly node: string | undefined;
  /** Path of `uvx`, if there is one. */
  readonly uvx: string | undefined;
  readonly platform: NodeJS.Platform;
}

/** Returns the installation that this process belongs to. */
export function installationOf({ self, env }: Pick<CliHost, 'self' | 'env'>): Installation {
  const [node, program = node] = self;
  const found = DESKTOP_PATH.map((folder) => join(folder, 'node')).some(
    (path) => existsSync(path) && realpathSync(path) === realpathSync(node),
  );
  const folders = (env['PATH'] ?? '').split(delimiter).filter((folder) => folder !== '');
  return {
    launcher: join(dirname(program), 'contree-mcp'),
    node: found ? undefined : node,
    uvx: folders.map((folder) => join(folder, 'uvx')).find((path) => existsSync(path)),
    platform: process.platform,
  };
}

/**
 * Returns the command with which an agent starts the server: the launcher, with an absolute path of Node where a
 * desktop program would find none or another one. What lies in the cache of npx or uvx, which is cleaned from time to
 * time, is started by these.
 */
export function launchCommand(installation: Installation, args: readonly string[]): ServerCommand {
  const { launcher, node, uvx = 'uvx', platform } = installation;
  if (/[\\/]uv[\\/](?:archive|environments|builds)-v\d+[\\/]/u.test(launcher)) {
    return { command: uvx, args: ['contree-mcp', ...args] };
  }
  if (/[\\/]_npx[\\/]/u.test(launcher)) return npx(['-y', 'contree-mcp', ...args], node, platform);
  return node === undefined ? { command: launcher, args } : { command: node, args: [launcher, ...args] };
}

function npx(args: readonly string[], node: string | undefined, platform: NodeJS.Platform): ServerCommand {
  // Windows cannot start a .cmd file as a program.
  if (platform === 'win32') return { command: 'cmd', args: ['/c', 'npx', ...args] };
  if (node === undefined) return { command: 'npx', args };
  // npx and what it starts are scripts, which look for Node in PATH.
  return { command: '/usr/bin/env', args: [`PATH=${[dirname(node), ...DESKTOP_PATH].join(':')}`, 'npx', ...args] };
}
