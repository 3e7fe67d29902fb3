import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { hashCacheFile, readSettings, settingsOf, type SettingName, type Settings } from './config/index.ts';
import { fault, isFault } from './contract/errors.ts';
import type { HttpContree } from './client/index.ts';
import type { McpHost } from './main.ts';
import type { McpOptions } from './mcp/index.ts';
import { isLoopback } from './http/guard.ts';
import { unknownTools, type Accounts, type LocalFiles } from './tools/index.ts';

/** Runs `contree-mcp` and returns its exit code. Standard output belongs to the protocol in mode stdio. */
export async function runMcp(host: McpHost, argv: readonly string[]): Promise<number> {
  if (argv.includes('--help') || argv.includes('-h')) return print(host, help());
  if (argv.includes('--version') || argv.includes('-V')) return print(host, `${host.version}\n`);
  try {
    const flags = parseFlags(argv);
    const settings = readSettings({ program: 'contree-mcp', flags, env: host.env });
    const [unknown] = unknownTools(settings.tools);
    if (unknown !== undefined)
      throw fault('CONFIG_INVALID', { setting: '--tools', reason: `no tool is called ${unknown}` });
    const stop = new AbortController();
    using _interrupt = host.onSignal('SIGINT', () => stop.abort('SIGINT'));
    using _terminate = host.onSignal('SIGTERM', () => stop.abort('SIGTERM'));
    if (settings.mode === 'stdio') await serveStdio(host, settings, stop.signal);
    else await (await import('./mcp-http.ts')).serveHttp(host, settings, stop.signal);
    return 0;
  } catch (error) {
    if (!isFault(error)) throw error;
    host.stderr.write(`error: ${error.message}\n${error.hint}\n`);
    return error.exitCode;
  }
}

async function serveStdio(host: McpHost, settings: Settings, signal: AbortSignal): Promise<void> {
  const { serveMcpStdio } = await import('./mcp/index.ts');
  await serveMcpStdio(() => connectMcp(host, settings), mcpOptions(host, settings), signal);
  // The client is gone: whatever still hangs must not keep this process.
  process.exit(0);
}

export async function connectMcp(host: McpHost, settings: Settings): Promise<HttpContree> {
  const { version, env, self, stderr } = host;
  const notice = (text: string): void => void stderr.write(`${text}\n`);
  // Loaded when the first call needs the engine: a server that nobody uses stays small.
  const { openSession } = await import('./cli/session.ts');
  return (await openSession(settings, { program: 'contree-mcp', version, env, self, notice })).contree;
}

/** What the settings mean for the MCP server. */
export function mcpOptions(host: McpHost, settings: Settings): McpOptions {
  const { readOnly, tools, allowTokenArg: allowTokenArgument, inlineWait, onCancel: onDisconnect } = settings;
  return {
    version: host.version,
    readOnly,
    allowTokenArgument,
    inlineWaitMs: inlineWait * 1_000,
    onDisconnect,
    log: (line) => void host.stderr.write(`${line}\n`),
    ...localFiles(host, settings),
    ...hostEnv(host, settings),
    ...(tools.length > 0 && { tools }),
    ...(hasUserHere(settings) && { accounts: accountsOf(settings, host.env) }),
  };
}

function hostEnv({ env }: McpHost, { envFrom }: Settings): Pick<McpOptions, 'hostEnv'> {
  const given = envFrom.flatMap((name) => (env[name] === undefined ? [] : [[name, env[name]] as const]));
  return given.length === 0 ? {} : { hostEnv: Object.fromEntries(given) };
}

/**
 * Whether who asks for a sign-in sits at this machine, whose engine then uses it. A server that others reach would take
 * the credentials of one of them for all, on a page that the others cannot open.
 */
function hasUserHere({ url, mode, httpListen }: Settings): boolean {
  return url === '' && (mode === 'stdio' || isLoopback(httpListen));
}

/** The user's registry accounts; what they need is loaded on first use, which few sessions ever make. */
function accountsOf(settings: Settings, env: McpHost['env']): Accounts {
  const load = async (): Promise<Accounts> => (await import('./registry-accounts.ts')).registryAccounts(settings, env);
  return {
    find: async (registry, signal) => await (await load()).find(registry, signal),
    signIn: async (registry, credentials, signal) => await (await load()).signIn(registry, credentials, signal),
  };
}

/**
 * The folders that rsync, upload and download may touch: those named, else where the agent works. A server that clients
 * reach over HTTP would offer its own disk to them, so there only named ones.
 */
function localFiles({ cwd, env }: McpHost, settings: Settings): Pick<McpOptions, 'localFiles'> {
  const { fsRoot, mode, noLocalFs, cachePruneDays: keptDays } = settings;
  if (noLocalFs) return {};
  // Some clients start their servers in "/": that names no folder where anybody works.
  if (fsRoot.length === 0 && (mode === 'http' || cwd === '/')) return {};
  // Confinement is built on /proc/self/fd.
  if (process.platform !== 'linux') return {};
  const roots = fsRoot.length > 0 ? fsRoot.map((root) => resolve(cwd, root)) : [cwd];
  const load = async (): Promise<LocalFiles> => {
    const { LocalFolders } = await import('./transfer/local-folders.ts');
    return new LocalFolders({ roots, cache: { path: hashCacheFile(settings, env), keptDays } });
  };
  return {
    localFiles: {
      sync: async (...call) => await (await load()).sync(...call),
      upload: async (...call) => await (await load()).upload(...call),
      download: async (...call) => await (await load()).download(...call),
    },
  };
}

function parseFlags(argv: readonly string[]): Partial<Record<SettingName, string>> {
  const rows = settingsOf('contree-mcp');
  const options = Object.fromEntries(
    rows.map(([, row]) => [row.flag, { type: row.value === undefined ? ('boolean' as const) : ('string' as const) }]),
  );
  try {
    const { values } = parseArgs({ args: [...argv], options, strict: true, allowPositionals: false });
    const given = rows.map(([name, row]) => [name, values[row.flag]] as const);
    return Object.fromEntries(
      given.filter(([, value]) => value !== undefined).map(([name, value]) => [name, `${value}`]),
    );
  } catch (error) {
    const reason = error instanceof Error ? error.message.replace(/\. To specify.*$/su, '') : 'unreadable';
    throw fault('CONFIG_INVALID', { setting: 'command line', reason }, { cause: error });
  }
}

function print(host: McpHost, text: string): number {
  host.stdout.write(text);
  return 0;
}

function help(): string {
  const rows = settingsOf('contree-mcp').map(([, row]) => {
    const flag = `--${row.flag}${row.value === undefined ? '' : ` ${row.value}`}`;
    const usual = row.defaultText ?? String(row.default);
    return `  ${flag.padEnd(32)}${row.doc}${usual === '' ? '' : ` (default: ${usual})`}`;
  });
  return [
    'contree-mcp: ConTree for coding agents over the Model Context Protocol.',
    'Every setting is also read from the environment (CONTREE_MCP_…) and the configuration file.',
    '',
    ...rows,
    '',
  ].join('\n');
}
