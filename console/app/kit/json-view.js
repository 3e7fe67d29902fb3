import { h } from './dom.js';
import { button } from './parts.js';
import { cut, shown } from './text.js';

const ENTRIES_SHOWN = 100;
const OPEN_DEPTH = 2;
const TEXT_CHARACTERS_MAX = 4_000;

/**
 * Returns the page of the console that the text of a field refers to.
 * @typedef {(key: string, text: string) => string | undefined} LinkOf
 */

/**
 * Returns an expandable view of a JSON value. Large parts are closed, long lists are shown piece by piece.
 * @param {unknown} value
 * @param {LinkOf} linkOf
 */
export function jsonView(value, linkOf) {
  return h(
    'div',
    { class: 'json', tabindex: 0, role: 'group', 'aria-label': 'Structured content' },
    valueView(value, { key: '', depth: 0, linkOf }),
  );
}

/**
 * @param {unknown} value
 * @param {{ key: string, depth: number, linkOf: LinkOf }} place
 * @returns {Node}
 */
function valueView(value, { key: name, depth, linkOf }) {
  if (typeof value === 'string') return stringView(value, linkOf(name, value));
  if (typeof value !== 'object' || value === null) return h('span', { class: 'json-plain' }, String(value));
  const list = Array.isArray(value);
  const entries = Object.entries(value);
  if (entries.length === 0) return h('span', { class: 'json-plain' }, list ? '[]' : '{}');
  const body = h('ul');
  const details = h(
    'details',
    { open: depth < OPEN_DEPTH },
    h('summary', null, list ? `[${entries.length}]` : `{${entries.length}}`),
    body,
  );
  let drawn = 0;
  const more = () => {
    body.querySelector(':scope > .json-more')?.remove();
    for (const [key, entry] of entries.slice(drawn, drawn + ENTRIES_SHOWN)) {
      body.append(
        h(
          'li',
          null,
          h('span', { class: 'json-key' }, shown(cut(key, 500))),
          ': ',
          valueView(entry, { key: list ? name : key, depth: depth + 1, linkOf }),
        ),
      );
    }
    drawn += ENTRIES_SHOWN;
    if (drawn < entries.length)
      body.append(h('li', { class: 'json-more' }, button(`${entries.length - drawn} more`, more, { kind: 'quiet' })));
  };
  // Closed parts are drawn when they are opened, so depth costs nothing before.
  if (details.open) more();
  else details.addEventListener('toggle', () => drawn === 0 && more());
  return details;
}

/**
 * @param {string} text
 * @param {string | undefined} link
 */
function stringView(text, link) {
  if (link !== undefined) return h('a', { href: link }, shown(text));
  const lines = text.includes('\n');
  return h(lines ? 'pre' : 'span', { class: 'json-string' }, shown(cut(text, TEXT_CHARACTERS_MAX), { lines }));
}
