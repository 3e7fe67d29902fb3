import { existsSync } from 'node:fs';
import { delimiter, join, resolve } from 'node:path';
import type { HttpContree } from '../client/index.ts';
import { hashCacheFile, userIgnoreFile, type Settings } from '../config/index.ts';
import { isLoopback } from '../http/guard.ts';
import type { McpOptions } from '../mcp/context.ts';
import type { Accounts } from '../tools/index.ts';
import type { LocalFiles } from '../transfer/local-files.ts';
import type { McpHost } from './mcp-host.ts';

/** Connects the MCP server to the engine of the settings, starting it if necessary. */
export async function connectMcp(host: McpHost, settings: Settings): Promise<HttpContree> {
  const { version, env, self, stderr } = host;
  const notice = (text: string): void => void stderr.write(`${text}\n`);
  // Loaded when the first call needs the engine, so that an unused server stays small.
  const { openSession } = await import('../client/session.ts');
  return openSession(settings, { program: 'contree-mcp', version, env, self, notice });
}

/** Returns the options of the MCP server from the settings. */
export function mcpOptions(host: McpHost, settings: Settings): McpOptions {
  const { readOnly, tools, allowTokenArg: allowTokenArgument, inlineWait, onCancel: onDisconnect } = settings;
  return {
    version: host.version,
    readOnly,
    allowTokenArgument,
    inlineWaitMs: inlineWait * 1_000,
    onDisconnect,
    // Messages of the SDK about what it cannot parse have dozens of lines.
    log: (message) => void host.stderr.write(`${message.replaceAll(/\s*\n\s*/gu, ' ')}\n`),
    ...localFiles(host, settings),
    ...hostEnv(host, settings),
    ...(tools.length > 0 && { tools }),
    ...(hasUserHere(settings) && { accounts: accountsOf(settings, host.env), program: programOf(host) }),
  };
}

/** Returns the command by which the user runs our command line: its path where no folder of the PATH has it. */
function programOf({ env, self: [, path = 'contree'] }: McpHost): string {
  const folders = (env['PATH'] ?? '').split(delimiter).filter((folder) => folder !== '');
  return folders.some((folder) => existsSync(join(folder, 'contree'))) ? 'contree' : path;
}

function hostEnv({ env }: McpHost, { envFrom }: Settings): Pick<McpOptions, 'hostEnv'> {
  const given = envFrom.flatMap((name) => (env[name] === undefined ? [] : [[name, env[name]] as const]));
  return given.length === 0 ? {} : { hostEnv: Object.fromEntries(given) };
}

/**
 * Reports whether the user of a sign-in is at this machine. A server on the network would use the credentials of one
 * user for all, on a page that others cannot open.
 */
function hasUserHere({ url, mode, httpListen }: Settings): boolean {
  return url === '' && (mode === 'stdio' || isLoopback(httpListen));
}

/** Returns the user's registry accounts; their modules are loaded on first use, which is rare. */
function accountsOf(settings: Settings, env: McpHost['env']): Accounts {
  const load = async (): Promise<Accounts> => (await import('./registry-accounts.ts')).registryAccounts(settings, env);
  return {
    find: async (registry, signal) => await (await load()).find(registry, signal),
    signIn: async (registry, credentials, signal) => await (await load()).signIn(registry, credentials, signal),
  };
}

/**
 * Returns the folders that rsync, upload and download may access: the configured ones, or the agent's working
 * directory. Over HTTP only configured ones, because otherwise the server would offer its own disk to its clients.
 */
function localFiles({ cwd, env }: McpHost, settings: Settings): Pick<McpOptions, 'localFiles'> {
  const { fsRoot, mode, noLocalFs, cachePruneDays: keptDays, allowStartupFiles: startUpFiles } = settings;
  if (noLocalFs) return {};
  // Some clients start their servers in "/", which is not a working directory.
  if (fsRoot.length === 0 && (mode === 'http' || cwd === '/')) return {};
  // Confinement is built on /proc/self/fd.
  if (process.platform !== 'linux') return {};
  const roots = fsRoot.length > 0 ? fsRoot.map((root) => resolve(cwd, root)) : [cwd];
  const load = async (): Promise<LocalFiles> => {
    const { LocalFolders } = await import('../transfer/local-folders.ts');
    const cache = { path: hashCacheFile(settings, env), keptDays };
    return new LocalFolders({ roots, cache, namedBy: 'model', startUpFiles, userIgnoreFile: userIgnoreFile(env) });
  };
  return {
    localFiles: {
      sync: async (...call) => await (await load()).sync(...call),
      upload: async (...call) => await (await load()).upload(...call),
      download: async (...call) => await (await load()).download(...call),
    },
  };
}
