import { join } from 'node:path';
import type { EntryPlace } from './config-entry.ts';
import { JSONC, TOML, YAML, type ConfigFormat } from './config-formats.ts';

/** How an agent starts the MCP server. */
export interface ServerCommand {
  readonly command: string;
  readonly args: readonly string[];
}

/** Where the agents keep their files. */
export interface Places {
  readonly home: string;
  readonly platform: NodeJS.Platform;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** One agent that speaks MCP: which file it reads, where in it our entry belongs, and what the entry says. */
export interface Agent extends EntryPlace {
  readonly name: string;
  readonly title: string;
  readonly file: (places: Places) => string;
  readonly entry: (server: ServerCommand) => Readonly<Record<string, unknown>>;
  /** What a new entry says besides; once it is there its owner decides. */
  readonly usual?: Readonly<Record<string, unknown>>;
}

/**
 * How an agent starts the server that this launcher is of: as itself, or by npx where it lies in the cache of npx, which
 * is swept.
 */
export function commandOf(launcher: string, args: readonly string[], platform: NodeJS.Platform): ServerCommand {
  if (!/[\\/]_npx[\\/]/u.test(launcher)) return { command: launcher, args };
  const npx = ['-y', 'contree-mcp', ...args];
  // Windows cannot start a .cmd file as a program.
  return platform === 'win32' ? { command: 'cmd', args: ['/c', 'npx', ...npx] } : { command: 'npx', args: npx };
}

const NAME = 'contree';
/** Runs may take long; agents that give up sooner would lose their answers. */
const TOOL_TIMEOUT_S = 600;

const plain: Agent['entry'] = ({ command, args }) => ({ command, args });
const typed: Agent['entry'] = ({ command, args }) => ({ type: 'stdio', command, args });

function at(format: ConfigFormat, ...group: readonly string[]): EntryPlace {
  return { format, path: [...group, NAME] };
}

const inHome =
  (...path: readonly string[]): Agent['file'] =>
  ({ home }) =>
    join(home, ...path);

/** In the folder that a variable names, else in one of the home folder. */
const inFolder =
  (variable: string, usual: readonly string[], file: string): Agent['file'] =>
  ({ home, env }) =>
    join(env[variable] || join(home, ...usual), file);

/** Where desktop programs keep their configuration. */
const inAppData =
  (...path: readonly string[]): Agent['file'] =>
  ({ home, platform, env }) => {
    if (platform === 'darwin') return join(home, 'Library', 'Application Support', ...path);
    if (platform === 'win32') return join(env['APPDATA'] || join(home, 'AppData', 'Roaming'), ...path);
    return join(env['XDG_CONFIG_HOME'] || join(home, '.config'), ...path);
  };

/** Under `~/.config` wherever the variable of XDG does not say otherwise, on macOS too; elsewhere on Windows. */
const inConfig =
  (path: readonly string[], onWindows: readonly string[]): Agent['file'] =>
  (places) =>
    places.platform === 'win32'
      ? inAppData(...onWindows)(places)
      : inFolder('XDG_CONFIG_HOME', ['.config'], join(...path))(places);

/** Formats of reference mcp.md §5, tried with the agents themselves where those run without an account. */
export const AGENTS: readonly Agent[] = [
  {
    name: 'claude-code',
    title: 'Claude Code',
    file: inFolder('CLAUDE_CONFIG_DIR', [], '.claude.json'),
    ...at(JSONC, 'mcpServers'),
    entry: typed,
  },
  {
    name: 'claude-desktop',
    title: 'Claude Desktop',
    file: inAppData('Claude', 'claude_desktop_config.json'),
    ...at(JSONC, 'mcpServers'),
    entry: plain,
  },
  {
    name: 'codex',
    title: 'Codex',
    file: inFolder('CODEX_HOME', ['.codex'], 'config.toml'),
    ...at(TOML, 'mcp_servers'),
    entry: plain,
    usual: { tool_timeout_sec: TOOL_TIMEOUT_S },
  },
  { name: 'cursor', title: 'Cursor', file: inHome('.cursor', 'mcp.json'), ...at(JSONC, 'mcpServers'), entry: plain },
  {
    name: 'vscode',
    title: 'VS Code',
    file: inAppData('Code', 'User', 'mcp.json'),
    ...at(JSONC, 'servers'),
    entry: typed,
  },
  {
    name: 'windsurf',
    title: 'Windsurf',
    file: inHome('.codeium', 'windsurf', 'mcp_config.json'),
    ...at(JSONC, 'mcpServers'),
    entry: plain,
  },
  {
    name: 'gemini',
    title: 'Gemini CLI',
    file: inHome('.gemini', 'settings.json'),
    ...at(JSONC, 'mcpServers'),
    entry: plain,
  },
  {
    name: 'zed',
    title: 'Zed',
    file: inConfig(['zed', 'settings.json'], ['Zed', 'settings.json']),
    ...at(JSONC, 'context_servers'),
    entry: ({ command, args }) => ({ source: 'custom', command, args }),
    usual: { env: {} },
  },
  {
    name: 'goose',
    title: 'Goose',
    file: inConfig(['goose', 'config.yaml'], ['Block', 'goose', 'config', 'config.yaml']),
    ...at(YAML, 'extensions'),
    entry: ({ command, args }) => ({ name: 'ConTree', type: 'stdio', cmd: command, args, enabled: true }),
    usual: { timeout: TOOL_TIMEOUT_S },
  },
  {
    name: 'opencode',
    title: 'opencode',
    file: inFolder('XDG_CONFIG_HOME', ['.config'], join('opencode', 'opencode.json')),
    ...at(JSONC, 'mcp'),
    entry: ({ command, args }) => ({ type: 'local', command: [command, ...args], enabled: true }),
  },
  {
    name: 'copilot',
    title: 'Copilot CLI',
    file: inHome('.copilot', 'mcp-config.json'),
    ...at(JSONC, 'mcpServers'),
    entry: typed,
    usual: { tools: ['*'], env: {} },
  },
];
