import { parseArgs } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { readSettings, settingsOf, type SettingName, type Settings } from '../config/index.ts';
import { fault, isFault } from '../contract/errors.ts';
import type { McpHost } from './mcp-host.ts';
import { connectMcp, mcpOptions } from './mcp-options.ts';
import { unknownTools } from '../tools/index.ts';

/** Runs `contree-mcp` and returns its exit code. Standard output belongs to the protocol in mode stdio. */
export async function runMcp(host: McpHost, argv: readonly string[]): Promise<number> {
  if (argv.includes('--help') || argv.includes('-h')) return print(host, help());
  if (argv.includes('--version') || argv.includes('-V')) return print(host, `${host.version}\n`);
  try {
    const flags = parseFlags(argv);
    const settings = readSettings({ program: 'contree-mcp', flags, env: host.env });
    const [unknown] = unknownTools(settings.tools);
    if (unknown !== undefined) throw fault('CONFIG_INVALID', { setting: '--tools', reason: `unknown tool ${unknown}` });
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
  const { serveMcpStdio } = await import('../mcp/stdio.ts');
  // A server lives as long as its agent and allocates little, so that V8's young generation need not grow to 16 MB once
  // everything is loaded.
  setFlagsFromString('--semi-space-growth-factor=1');
  await serveMcpStdio(() => connectMcp(host, settings), mcpOptions(host, settings), signal);
  // The client is gone: hanging work must not keep this process alive.
  process.exit(0);
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
