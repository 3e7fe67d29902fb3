import { download } from '../../api/download.js';
import { readFile, v1 } from '../../api/v1.js';
import { h } from '../../kit/dom.js';
import { bytes, count } from '../../kit/format.js';
import { button, buttonLink, empty, field } from '../../kit/parts.js';
import { go, href } from '../../kit/route.js';
import { shown } from '../../kit/text.js';
import { hexDump, looksBinary } from '../../kit/hex.js';

/**
 * @import { Route } from '../../kit/route.js'
 * @import { Scope } from '../../kit/scope.js'
 */

/** Bytes shown at once, whatever the size of the file. */
const TEXT_BYTES = 64 * 1024;
const HEX_BYTES = 8 * 1024;

/**
 * Shows a file one part at a time, as text or in hexadecimal.
 * @param {string} image
 * @param {{ path: string, size: number }} file
 * @param {Route} route `at` is the first byte that is shown, `as` how
 * @param {Scope} scope
 */
export async function file(image, { path, size }, route, scope) {
  const asked = Number(route.query.get('at') ?? 0);
  const at = Number.isSafeInteger(asked) && asked >= 0 && asked < size ? asked : 0;
  const first = await readFile(image, { path, offset: at, length: TEXT_BYTES }, scope.signal);
  const as = route.query.get('as') ?? (looksBinary(first.bytes) ? 'hex' : 'text');
  const length = as === 'hex' ? HEX_BYTES : TEXT_BYTES;
  const part = first.bytes.subarray(0, length);
  /** @param {Record<string, string | number | undefined>} change */
  const here = (change) =>
    href(['images', image, 'files'], { path, at: at || undefined, as: route.query.get('as') ?? undefined, ...change });
  const name = path.split('/').at(-1) ?? 'file';
  const save = button('Download', () => void download(v1(`/inspect/${image}/download`, { path }), name), {
    icon: 'download',
  });
  const ways = [
    buttonLink('Text', here({ as: 'text' }), { kind: as === 'text' ? 'primary' : 'plain' }),
    buttonLink('Hex', here({ as: 'hex' }), { kind: as === 'hex' ? 'primary' : 'plain' }),
  ];
  const content = size === 0 ? empty('This file is empty', 'It has no content to show.') : view(part, as, at, path);
  return h(
    'div',
    { class: 'fill' },
    h(
      'div',
      { class: 'toolbar' },
      h('p', { class: 'muted' }, range(at, part.length, size)),
      h('div', { class: 'actions' }, ways, save),
    ),
    content,
    size > length && pager({ at, length, size, here }),
  );
}

/**
 * @param {number} at
 * @param {number} length
 * @param {number} size
 */
function range(at, length, size) {
  if (length === size) return `${bytes(size)}, all of it`;
  return `Bytes ${count(at)} to ${count(at + length)} of ${count(size)} (${bytes(size)})`;
}

/**
 * @param {Uint8Array} part
 * @param {string} as
 * @param {number} at
 * @param {string} path
 */
function view(part, as, at, path) {
  const text = as === 'hex' ? hexDump(part, at) : new TextDecoder().decode(part);
  const props = {
    class: as === 'hex' ? 'code file-view hex' : 'code file-view',
    tabindex: 0,
    role: 'group',
    'aria-label': `Content of ${path}`,
  };
  return h('pre', props, shown(text, { lines: true }));
}

/**
 * @param {{ at: number, length: number, size: number, here: (change: Record<string, number | undefined>) => string }} options
 */
function pager({ at, length, size, here }) {
  const input = h('input', { type: 'number', min: 0, max: size - 1, value: at });
  const onsubmit = (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    go(here({ at: Number(input.value) }));
  };
  const last = Math.floor((size - 1) / length) * length;
  return h(
    'form',
    { class: 'toolbar', onsubmit },
    at > 0 && buttonLink('First', here({ at: undefined })),
    at > 0 && buttonLink('Previous', here({ at: Math.max(0, at - length) })),
    at + length < size && buttonLink('Next', here({ at: at + length })),
    at + length < size && buttonLink('Last', here({ at: last })),
    h('div', { class: 'actions' }, field('From byte', input), h('button', { class: 'button plain' }, 'Go')),
  );
}
