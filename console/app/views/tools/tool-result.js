import { envelope } from '../../api/mcp.js';
import { token } from '../../api/session.js';
import { h } from '../../kit/dom.js';
import { duration } from '../../kit/format.js';
import { jsonView } from '../../kit/json-view.js';
import { badge, codeBlock, panel } from '../../kit/parts.js';
import { cut } from '../../kit/text.js';
import { linkOfField, uriLink } from './resources.js';

/** @import { ToolResult } from '../../api/mcp.js' */

const TEXT_CHARACTERS_MAX = 100_000;

/**
 * Shows the result of a tool: structured content, text and links.
 * @param {string} name
 * @param {Record<string, unknown>} args
 * @param {ToolResult} result
 * @param {number} seconds
 */
export function toolResult(name, args, { content = [], structuredContent, isError }, seconds) {
  const texts = content.flatMap(({ type, text }) => (type === 'text' && text !== undefined ? [text] : []));
  const links = content.filter(({ type, uri }) => type === 'resource_link' && uri !== undefined);
  const verdict = [
    badge(isError ? 'error' : 'ok', isError ? 'bad' : 'good'),
    h('span', { class: 'muted' }, ` ${duration(seconds)}`),
  ];
  return panel(
    ['Result ', ...verdict],
    [
      structuredContent !== undefined && [h('h3', null, 'Structured'), jsonView(structuredContent, linkOfField)],
      texts.length > 0 && [
        h('h3', null, 'Text'),
        codeBlock(cut(texts.join('\n'), TEXT_CHARACTERS_MAX), 'Text of the result'),
      ],
      links.length > 0 && [
        h('h3', null, 'Links'),
        h(
          'ul',
          null,
          links.map(({ uri = '' }) => h('li', null, uriLink(uri))),
        ),
      ],
      h('details', null, h('summary', null, 'Request as a curl command'), codeBlock(curl(name, args), 'Request')),
    ].flat(),
    { class: isError ? 'result bad' : 'result' },
  );
}

/**
 * Returns the same call as a curl command, without the token.
 * @param {string} name
 * @param {Record<string, unknown>} args
 */
function curl(name, args) {
  const { headers, body } = envelope('tools/call', { name, arguments: args });
  const all = { ...headers, ...(token() !== '' && { Authorization: 'Bearer $CONTREE_TOKEN' }) };
  /** @param {string} text */
  const quoted = (text) => `'${text.replaceAll("'", String.raw`'\''`)}'`;
  const lines = Object.entries(all).map(
    ([key, value]) => `  -H ${key === 'Authorization' ? `"${key}: ${value}"` : quoted(`${key}: ${value}`)}`,
  );
  const address = new URL('mcp', document.baseURI).href;
  return [`curl ${address}`, ...lines, `  -d ${quoted(JSON.stringify(body))}`].join(' \\\n');
}
