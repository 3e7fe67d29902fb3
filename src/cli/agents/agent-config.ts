import { join } from 'node:path';
import type { EntryPlace } from './config-entry.ts';
import type { FormatName } from './config-formats.ts';

/** Command with which an agent starts the MCP server. */
export interface ServerCommand {
  readonly command: string;
  readonly args: readonly string[];
}

/** Directories and variables from which the location of agents' files is derived. */
export interface UserDirectories {
  readonly home: string;
  readonly platform: NodeJS.Platform;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** One agent that speaks MCP: the file it reads, the place of our entry in it, and the content of the entry. */
export interface Agent extends EntryPlace {
  readonly name: string;
  readonly title: string;
  readonly file: (directories: UserDirectories) => string;
  readonly entry: (server: ServerCommand) => Readonly<Record<string, unknown>>;
  /** Further fields of a new entry; in an existing entry the values of its owner are kept. */
  readonly usual?: Readonly<Record<string, unknown>>;
}

const NAME = 'contree';
/** Timeout for agents that have one: a run may take long, and an agent that gives up sooner loses the answer. */
const TOOL_TIMEOUT_S = 600;

const plain: Agent['entry'] = ({ command, args }) => ({ command, args });
const typed: Agent['entry'] = ({ command, args }) => ({ type: 'stdio', command, args });

function at(format: FormatName, ...group: readonly string[]): EntryPlace {
  return { format, path: [...group, NAME] };
}

const inHome =
  (...path: readonly string[]): Agent['file'] =>
  ({ home }) =>
    join(home, ...path);

/** Returns a path in the folder that a variable names, or else in a folder of the home directory. */
const inFolder =
  (variable: string, usual: readonly string[], file: string): Agent['file'] =>
  ({ home, env }) =>
    join(env[variable] || join(home, ...usual), file);

/** Returns a path in the folder where desktop programs keep their configuration. */
const inAppData =
  (...path: readonly string[]): Agent['file'] =>
  ({ home, platform, env }) => {
    if (platform === 'darwin') return join(home, 'Library', 'Application Support', ...path);
    if (platform === 'win32') return join(env['APPDATA'] || join(home, 'AppData', 'Roaming'), ...path);
    return join(env['XDG_CONFIG_HOME'] || join(home, '.config'), ...path);
  };

/** Returns a path under `$XDG_CONFIG_HOME` or `~/.config`, on macOS too; on Windows, one under `%APPDATA%`. */
const inConfig =
  (path: readonly string[], onWindows: readonly string[]): Agent['file'] =>
  (directories) =>
    directories.platform === 'win32'
      ? inAppData(...onWindows)(directories)
      : inFolder('XDG_CONFIG_HOME', ['.config'], join(...path))(directories);

/**
 * The supported agents. Formats are those of the agents' own documentation, tried with each agent that runs without an
 * account.
 */
export const AGENTS: readonly Agent[] = [
  {
    name: 'claude-code',
    title: 'Claude Code',
    file: inFolder('CLAUDE_CONFIG_DIR', [], '.claude.json'),
    ...at('jsonc', 'mcpServers'),
    entry: typed,
  },
  {
    name: 'claude-desktop',
    title: 'Claude Desktop',
    file: inAppData('Claude', 'claude_desktop_config.json'),
    ...at('jsonc', 'mcpServers'),
    entry: plain,
  },
  {
    name: 'codex',
    title: 'Codex',
    file: inFolder('CODEX_HOME', ['.codex'], 'config.toml'),
    ...at('toml', 'mcp_servers'),
    entry: plain,
    usual: { tool_timeout_sec: TOOL_TIMEOUT_S },
  },
  { name: 'cursor', title: 'Cursor', file: inHome('.cursor', 'mcp.json'), ...at('jsonc', 'mcpServers'), entry: plain },
  {
    name: 'vscode',
    title: 'VS Code',
    file: inAppData('Code', 'User', 'mcp.json'),
    ...at('jsonc', 'servers'),
    entry: typed,
  },
  {
    name: 'windsurf',
    title: 'Windsurf',
    file: inHome('.codeium', 'windsurf', 'mcp_config.json'),
    ...at('jsonc', 'mcpServers'),
    entry: plain,
  },
  {
    name: 'gemini',
    title: 'Gemini CLI',
    file: inHome('.gemini', 'settings.json'),
    ...at('jsonc', 'mcpServers'),
    entry: plain,
  },
  {
    name: 'zed',
    title: 'Zed',
    file: inConfig(['zed', 'settings.json'], ['Zed', 'settings.json']),
    ...at('jsonc', 'context_servers'),
    entry: ({ command, args }) => ({ source: 'custom', command, args }),
    usual: { env: {} },
  },
  {
    name: 'goose',
    title: 'Goose',
    file: inConfig(['goose', 'config.yaml'], ['Block', 'goose', 'config', 'config.yaml']),
    ...at('yaml', 'extensions'),
    entry: ({ command, args }) => ({ name: 'ConTree', type: 'stdio', cmd: command, args, enabled: true }),
    usual: { timeout: TOOL_TIMEOUT_S },
  },
  {
    name: 'opencode',
    title: 'opencode',
    file: inFolder('XDG_CONFIG_HOME', ['.config'], join('opencode', 'opencode.json')),
    ...at('jsonc', 'mcp'),
    entry: ({ command, args }) => ({ type: 'local', command: [command, ...args], enabled: true }),
  },
  {
    name: 'copilot',
    title: 'Copilot CLI',
    file: inHome('.copilot', 'mcp-config.json'),
    ...at('jsonc', 'mcpServers'),
    entry: typed,
    usual: { tools: ['*'], env: {} },
  },
];
