import { token } from '../../api/session.js';
import { h } from '../../kit/dom.js';
import { codeBlock, pageHead, panel } from '../../kit/parts.js';

/**
 * Configuration of one agent for this server.
 * @typedef {{ readonly title: string, readonly where: string, readonly text: (server: Server) => string }} Client
 * @typedef {{ readonly url: string, readonly secret: boolean }} Server
 */

/** Names that `contree install` takes. */
const OTHERS = 'claude-desktop, codex, cursor, vscode, windsurf, gemini, zed, goose and opencode';

const BEARER = 'Bearer YOUR_TOKEN';

/**
 * @param {Record<string, unknown>} value
 * @returns {string}
 */
function json(value) {
  return JSON.stringify(value, undefined, 2);
}

/** @param {Server} server */
function headers({ secret }) {
  return secret ? { headers: { Authorization: BEARER } } : {};
}

/** @type {readonly Client[]} */
const CLIENTS = [
  {
    title: 'Claude Code',
    where: 'In a terminal',
    text: ({ url, secret }) =>
      `claude mcp add --transport http contree ${url}${secret ? ` --header "Authorization: ${BEARER}"` : ''}`,
  },
  {
    title: 'Codex',
    where: '~/.codex/config.toml',
    text: ({ url, secret }) =>
      `[mcp_servers.contree]\nurl = "${url}"\n${secret ? 'bearer_token_env_var = "CONTREE_TOKEN"\n' : ''}tool_timeout_sec = 600`,
  },
  {
    title: 'Cursor',
    where: '~/.cursor/mcp.json',
    text: (server) => json({ mcpServers: { contree: { url: server.url, ...headers(server) } } }),
  },
  {
    title: 'VS Code',
    where: '.vscode/mcp.json',
    text: (server) => json({ servers: { contree: { type: 'http', url: server.url, ...headers(server) } } }),
  },
  {
    title: 'Gemini CLI',
    where: '~/.gemini/settings.json',
    text: (server) => json({ mcpServers: { contree: { httpUrl: server.url, timeout: 600_000, ...headers(server) } } }),
  },
  {
    title: 'Windsurf',
    where: '~/.codeium/windsurf/mcp_config.json',
    text: (server) => json({ mcpServers: { contree: { serverUrl: server.url, ...headers(server) } } }),
  },
  {
    title: 'Zed',
    where: 'settings.json',
    text: (server) => json({ context_servers: { contree: { url: server.url, ...headers(server) } } }),
  },
  {
    title: 'opencode',
    where: '~/.config/opencode/opencode.json',
    text: (server) =>
      json({ mcp: { contree: { type: 'remote', url: server.url, enabled: true, ...headers(server) } } }),
  },
];

/** Shows how to connect agents to this server, and how they start a server of their own. */
export function setup() {
  const server = { url: new URL('mcp', document.baseURI).href, secret: token() !== '' };
  const clients = CLIENTS.map(({ title, where, text }) =>
    panel(title, [h('p', { class: 'muted' }, where), codeBlock(text(server), `Setup of ${title}`, { wrapped: true })]),
  );
  const own = [
    h(
      'p',
      null,
      'An agent on the same machine can start the MCP server itself. It shares the images and operations shown here.',
    ),
    codeBlock('claude mcp add --transport stdio contree -- contree-mcp', 'Setup of Claude Code', { wrapped: true }),
    h('p', null, 'Claude Desktop and agents with the same file format:'),
    codeBlock(json({ mcpServers: { contree: { command: 'contree-mcp' } } }), 'Setup of Claude Desktop'),
    h('p', null, 'One command configures any supported agent:'),
    codeBlock('contree install claude-code', 'Command'),
    h('p', { class: 'muted' }, `Also ${OTHERS}.`),
  ];
  return h(
    'div',
    null,
    pageHead('Connect an agent', { about: ['This server speaks MCP at ', h('code', null, server.url)] }),
    server.secret &&
      h(
        'p',
        { class: 'prose' },
        'Replace YOUR_TOKEN with a token. Create one for each agent with ',
        h('code', null, 'contree token create'),
        '.',
      ),
    panel('On this machine', own),
    h('h2', { class: 'section-title' }, 'Over HTTP'),
    h('div', { class: 'cards' }, clients),
  );
}
