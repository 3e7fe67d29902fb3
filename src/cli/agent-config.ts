import { join } from 'node:path';
import { applyEdits, modify, parse, type ParseError } from 'jsonc-parser';
import { parseDocument } from 'yaml';
import { fault } from '../contract/errors.ts';

/** How an agent starts the MCP server. */
export interface ServerCommand {
  readonly command: string;
  readonly args: readonly string[];
}

/** Where the agents keep their files. */
export interface Places {
  readonly home: string;
  readonly platform: NodeJS.Platform;
  /** `%APPDATA%` on Windows. */
  readonly appData?: string | undefined;
}

/** One agent that speaks MCP: which file it reads, and what of ours belongs into it. */
export interface Agent {
  readonly name: string;
  readonly title: string;
  readonly file: (places: Places) => string;
  /** The file's text with our server in it; everything else stays as it is, comments too. */
  readonly merge: (text: string, server: ServerCommand) => string;
}

const NAME = 'contree';
const FORMATTING = { formattingOptions: { tabSize: 2, insertSpaces: true, eol: '\n' } };

type Render = (server: ServerCommand) => unknown;

const plain: Render = ({ command, args }) => ({ command, args });
const typed: Render = ({ command, args }) => ({ type: 'stdio', command, args });

/** Sets one property of a JSON file that may have comments and trailing commas. */
function json(path: readonly string[], render: Render): Agent['merge'] {
  return (text, server) => {
    const errors: ParseError[] = [];
    const source = text.trim() === '' ? '{}\n' : text;
    const value: unknown = parse(source, errors, { allowTrailingComma: true });
    if (errors.length > 0 || typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw fault('CONFIG_INVALID', { setting: 'the agent’s file', reason: 'it is not a JSON object' });
    }
    return applyEdits(source, modify(source, [...path, NAME], render(server), FORMATTING));
  };
}

/** Replaces or appends the table `[mcp_servers.contree]`; the rest of the file is not touched. */
function codexToml(text: string, { command, args }: ServerCommand): string {
  const table = `[mcp_servers.${NAME}]`;
  const block = `${table}\ncommand = ${JSON.stringify(command)}\nargs = ${JSON.stringify(args)}\ntool_timeout_sec = 600\n`;
  const lines = text.split('\n');
  const start = lines.findIndex((line) => line.trim() === table);
  if (start === -1) return `${text.trimEnd()}${text.trim() === '' ? '' : '\n\n'}${block}`;
  const isOther = (line: string): boolean => /^\s*\[/u.test(line) && !line.trim().startsWith(`[mcp_servers.${NAME}.`);
  const next = lines.findIndex((line, index) => index > start && isOther(line));
  const after = next === -1 ? [] : ['', ...lines.slice(next)];
  return [...lines.slice(0, start), ...block.trimEnd().split('\n'), ...after].join('\n').trimEnd().concat('\n');
}

function gooseYaml(text: string, { command, args }: ServerCommand): string {
  const document = parseDocument(text);
  if (document.errors.length > 0) {
    throw fault('CONFIG_INVALID', { setting: 'the agent’s file', reason: 'it is not YAML' });
  }
  const entry = { name: 'ConTree', type: 'stdio', cmd: command, args: [...args], enabled: true, timeout: 600 };
  document.setIn(['extensions', NAME], document.createNode(entry));
  return document.toString();
}

function desktopFile({ home, platform, appData }: Places): string {
  const file = join('Claude', 'claude_desktop_config.json');
  if (platform === 'darwin') return join(home, 'Library', 'Application Support', file);
  if (platform === 'win32') return join(appData ?? join(home, 'AppData', 'Roaming'), file);
  return join(home, '.config', file);
}

function codeFile({ home, platform, appData }: Places): string {
  const file = join('Code', 'User', 'mcp.json');
  if (platform === 'darwin') return join(home, 'Library', 'Application Support', file);
  if (platform === 'win32') return join(appData ?? join(home, 'AppData', 'Roaming'), file);
  return join(home, '.config', file);
}

const below =
  (...path: readonly string[]) =>
  ({ home }: Places): string =>
    join(home, ...path);

/** Formats of reference mcp.md §5. */
export const AGENTS: readonly Agent[] = [
  { name: 'claude-code', title: 'Claude Code', file: below('.claude.json'), merge: json(['mcpServers'], typed) },
  { name: 'claude-desktop', title: 'Claude Desktop', file: desktopFile, merge: json(['mcpServers'], plain) },
  { name: 'codex', title: 'Codex', file: below('.codex', 'config.toml'), merge: codexToml },
  { name: 'cursor', title: 'Cursor', file: below('.cursor', 'mcp.json'), merge: json(['mcpServers'], plain) },
  { name: 'vscode', title: 'VS Code', file: codeFile, merge: json(['servers'], typed) },
  {
    name: 'windsurf',
    title: 'Windsurf',
    file: below('.codeium', 'windsurf', 'mcp_config.json'),
    merge: json(['mcpServers'], plain),
  },
  { name: 'gemini', title: 'Gemini CLI', file: below('.gemini', 'settings.json'), merge: json(['mcpServers'], plain) },
  {
    name: 'zed',
    title: 'Zed',
    file: below('.config', 'zed', 'settings.json'),
    merge: json(['context_servers'], ({ command, args }) => ({ source: 'custom', command, args, env: {} })),
  },
  { name: 'goose', title: 'Goose', file: below('.config', 'goose', 'config.yaml'), merge: gooseYaml },
  {
    name: 'opencode',
    title: 'opencode',
    file: below('.config', 'opencode', 'opencode.json'),
    merge: json(['mcp'], ({ command, args }) => ({ type: 'local', command: [command, ...args], enabled: true })),
  },
];
