import { chunks, messages } from './event-stream.js';
import { Fault, request } from './session.js';

const VERSION = '2026-07-28';
const CLIENT = { name: 'contree-console', version: '1' };

/**
 * @typedef {object} JsonSchema
 * @property {string} [type]
 * @property {string} [description]
 * @property {Record<string, JsonSchema>} [properties]
 * @property {string[]} [required]
 * @property {JsonSchema} [items]
 * @property {JsonSchema | boolean} [additionalProperties]
 * @property {unknown} [default]
 * @property {unknown[]} [enum]
 * @property {JsonSchema[]} [anyOf]
 * @property {number} [minimum]
 * @property {number} [maximum]
 */

/**
 * @typedef {object} Tool
 * @property {string} name
 * @property {string} [title]
 * @property {string} [description]
 * @property {JsonSchema} inputSchema
 * @property {JsonSchema} [outputSchema]
 * @property {{ readOnlyHint?: boolean, destructiveHint?: boolean, idempotentHint?: boolean, openWorldHint?: boolean }} [annotations]
 */

/**
 * @typedef {{ name: string, title?: string, description?: string, mimeType?: string, uri: string }} Resource
 * @typedef {{ name: string, title?: string, description?: string, mimeType?: string, uriTemplate: string }} Template
 * @typedef {{ name: string, title?: string, description?: string, arguments?: { name: string, description?: string, required?: boolean }[] }} Prompt
 * @typedef {{ type: string, text?: string, uri?: string, name?: string }} Content
 * @typedef {{ content?: Content[], structuredContent?: unknown, isError?: boolean }} ToolResult
 * @typedef {{ progress: number, total?: number, message?: string }} Progress
 */

let nextId = 1;

/** Parameter of each method that the header `Mcp-Name` repeats (SEP-2243). */
const NAMED_BY = /** @type {Readonly<Record<string, string>>} */ ({
  'tools/call': 'name',
  'prompts/get': 'name',
  'resources/read': 'uri',
});

/**
 * Returns headers and body of one request of the stateless protocol, which carries everything the server needs to know.
 * @param {string} method
 * @param {Record<string, unknown>} [params]
 * @param {string} [progressToken]
 */
export function envelope(method, params = {}, progressToken) {
  const _meta = {
    'io.modelcontextprotocol/protocolVersion': VERSION,
    'io.modelcontextprotocol/clientInfo': CLIENT,
    'io.modelcontextprotocol/clientCapabilities': {},
    ...(progressToken !== undefined && { progressToken }),
  };
  const name = params[NAMED_BY[method] ?? ''];
  const headers = {
    'Content-Type': 'application/json',
    Accept: 'application/json, text/event-stream',
    'MCP-Protocol-Version': VERSION,
    'Mcp-Method': method,
    ...(typeof name === 'string' && { 'Mcp-Name': headerValue(name) }),
  };
  const id = nextId;
  nextId += 1;
  return { headers, body: { jsonrpc: '2.0', id, method, params: { ...params, _meta } } };
}

/**
 * Encodes text for a header: anything but printable ASCII as Base64.
 * @param {string} text
 */
function headerValue(text) {
  if (/^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/u.test(text) && !text.startsWith('=?base64?')) return text;
  const bytes = new TextEncoder().encode(text);
  return `=?base64?${btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''))}?=`;
}

/**
 * Sends one request to `/mcp`. Rejects with `Fault`.
 * @param {string} method
 * @param {Record<string, unknown>} [params]
 * @param {{ signal?: AbortSignal, onProgress?: (progress: Progress) => void }} [options]
 * @returns {Promise<any>} the result
 */
async function call(method, params, { signal, onProgress } = {}) {
  const { headers, body } = envelope(method, params, onProgress && `console-${nextId}`);
  const connection = new AbortController();
  const either = signal ? AbortSignal.any([signal, connection.signal]) : connection.signal;
  const response = await request('mcp', { method: 'POST', headers, body: JSON.stringify(body), signal: either });
  if (!response.headers.get('content-type')?.startsWith('text/event-stream')) return resultOf(await response.json());
  for await (const { data } of messages(chunks(response, connection))) {
    const message = JSON.parse(data);
    if (message.method === 'notifications/progress') onProgress?.(message.params);
    if (message.id === body.id) return resultOf(message);
  }
  signal?.throwIfAborted();
  throw new Fault({
    code: '',
    status: 0,
    message: 'The connection ended before the response arrived.',
    hint: 'Check the list of operations: an operation started by the call may still be running.',
  });
}

/** @param {{ result?: unknown, error?: { code: number, message: string } }} message */
function resultOf({ result, error }) {
  if (error === undefined) return result;
  throw new Fault({
    code: String(error.code),
    status: 200,
    message: error.message,
    hint: 'Correct the arguments and call again.',
  });
}

/**
 * Lists by method. They do not change while a server runs; reloading the page fetches them again. @type {Map<string,
 * Promise<any>>}
 */
const kept = new Map();

/**
 * @param {string} method
 * @returns {Promise<any>}
 */
function once(method) {
  const known = kept.get(method);
  if (known) return known;
  const asked = call(method);
  kept.set(method, asked);
  asked.catch(() => kept.delete(method));
  return asked;
}

/** @returns {Promise<{ instructions?: string, supportedVersions: string[], _meta?: Record<string, any> }>} */
export const discover = () => once('server/discover');

/** @returns {Promise<Tool[]>} */
export const listTools = async () => (await once('tools/list')).tools;

/** @returns {Promise<Resource[]>} */
export const listResources = async () => (await once('resources/list')).resources;

/** @returns {Promise<Template[]>} */
export const listTemplates = async () => (await once('resources/templates/list')).resourceTemplates;

/** @returns {Promise<Prompt[]>} */
export const listPrompts = async () => (await once('prompts/list')).prompts;

/**
 * @param {string} name
 * @param {Record<string, unknown>} args
 * @param {{ signal?: AbortSignal, onProgress?: (progress: Progress) => void }} [options]
 * @returns {Promise<ToolResult>}
 */
export const callTool = (name, args, options) => call('tools/call', { name, arguments: args }, options);

/**
 * @param {string} uri
 * @returns {Promise<{ contents: { uri: string, mimeType?: string, text?: string, blob?: string }[] }>}
 */
export const readResource = (uri) => call('resources/read', { uri });

/**
 * @param {string} name
 * @param {Record<string, string>} args
 * @returns {Promise<{ messages: { role: string, content: Content }[] }>}
 */
export const getPrompt = (name, args) => call('prompts/get', { name, arguments: args });
