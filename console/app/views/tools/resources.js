import { listTemplates, readResource } from '../../api/mcp.js';
import { fill, h } from '../../kit/dom.js';
import { form } from '../../kit/form.js';
import { codeBlock, field, pageHead, panel, table } from '../../kit/parts.js';
import { href } from '../../kit/route.js';
import { cut, shown } from '../../kit/text.js';
import { fileHref } from '../images/files.js';

const TEXT_CHARACTERS_MAX = 200_000;

/** Shows the resource templates of the server and a form to read a resource. */
export async function resources() {
  const rows = (await listTemplates()).map(({ uriTemplate, title, name, description = '', mimeType = '' }) =>
    h(
      'tr',
      null,
      h('th', { scope: 'row' }, h('code', null, uriTemplate)),
      h('td', null, title ?? name),
      h('td', null, shown(description), mimeType !== '' && h('span', { class: 'muted' }, ` ${mimeType}`)),
    ),
  );
  return h(
    'div',
    null,
    pageHead('Resources', { about: 'Resources that clients can read by URI. Resources of an image never change.' }),
    panel('Read a resource', [readForm()]),
    panel('Templates', [table('Templates', [['URI'], ['Name'], ['Description']], rows)]),
  );
}

function readForm() {
  const input = h('input', {
    type: 'text',
    spellcheck: 'false',
    class: 'mono',
    placeholder: 'contree://guide/workflow',
  });
  const output = h('div', { 'aria-live': 'polite' });
  const act = async () => {
    const { contents } = await readResource(input.value.trim());
    fill(output, contents.flatMap(contentView));
  };
  return h('div', null, form([field('URI', input, { required: true })], { submit: 'Read', act }), output);
}

/** @param {{ text?: string, blob?: string, mimeType?: string }} content */
function contentView({ text, blob = '', mimeType = '' }) {
  const kind = h('p', { class: 'muted' }, mimeType);
  if (text === undefined) return [kind, h('p', null, `Binary, ${Math.floor((blob.length * 3) / 4)} bytes.`)];
  return [kind, codeBlock(cut(text, TEXT_CHARACTERS_MAX), 'Content')];
}

/**
 * Returns a URI as a link to the page of the console that shows the same, where there is one.
 * @param {string} uri
 */
export function uriLink(uri) {
  const place = placeOf(uri);
  return place === undefined ? h('code', null, shown(uri)) : h('a', { href: place }, h('code', null, shown(uri)));
}

/**
 * @param {string} uri
 * @returns {string | undefined}
 */
export function placeOf(uri) {
  const [, kind, rest = ''] = /^contree:\/\/(image|operations|guide)\/(.+)$/su.exec(uri) ?? [];
  const [first = '', second = '', ...path] = rest.split('/');
  if (kind === 'guide') return href(['tools', 'guides', first]);
  if (kind === 'operations' && second !== '') return href(['operations', second]);
  if (kind !== 'image') return undefined;
  const image = decodeURIComponent(first);
  if (second === 'ls' || second === 'read') return fileHref(image, `/${path.map(decodeURIComponent).join('/')}`);
  return href(['images', image, second === 'lineage' ? 'lineage' : 'files']);
}

/**
 * Returns the page that the text of a result field refers to.
 * @param {string} key
 * @param {string} text
 * @returns {string | undefined}
 */
export function linkOfField(key, text) {
  if (text.startsWith('contree://')) return placeOf(text);
  if (!/^[\da-f-]{36}$/u.test(text)) return undefined;
  if (/operation_ids?$/u.test(key)) return href(['operations', text]);
  return /^(?:image_uuid|image|parent)$/u.test(key) ? href(['images', text]) : undefined;
}
