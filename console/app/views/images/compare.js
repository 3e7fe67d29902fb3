import { diff, lineage, readFile } from '../../api/v1.js';
import { fill, h, icon } from '../../kit/dom.js';
import { bytes, count, fileMode } from '../../kit/format.js';
import { badge, button, empty, pageHead, problem, select } from '../../kit/parts.js';
import { go, href } from '../../kit/route.js';
import { looksBinary } from '../../kit/hex.js';
import { shown } from '../../kit/text.js';
import { fileHref } from './files.js';
import { title } from './image.js';
import { parsePatch, patchView, wholeFile } from './patch.js';

/**
 * @import { Route } from '../../kit/route.js'
 * @import { Scope } from '../../kit/scope.js'
 * @import { DiffEntry, DiffResult } from '../../../../src/contract/inspect.ts'
 * @import { LineageNode } from '../../../../src/contract/image.ts'
 * @import { Tone } from '../../kit/parts.js'
 */

const ENTRIES_MAX = 10_000;
/** Entries drawn at first; more are drawn on demand. */
const ENTRIES_DRAWN = 300;

/** @type {Readonly<Record<DiffEntry['change'], readonly [sign: string, tone: Tone]>>} */
const CHANGES = {
  added: ['added', 'good'],
  removed: ['removed', 'bad'],
  modified: ['changed', 'accent'],
  metadata: ['attributes', 'neutral'],
};

/**
 * Shows what changed from one image to another. No sandbox is started.
 * @param {Route} route
 * @param {Scope} scope
 */
export async function compare({ query }, scope) {
  const [from, to, below] = [query.get('from') ?? '', query.get('to') ?? '', query.get('path') ?? ''];
  if (from === '' || to === '') {
    const next = h('a', { href: href(['images']) }, 'the image tree');
    return h('div', null, pageHead('Compare'), empty('Two images are needed', ['Select them in ', next, '.']));
  }
  const [before, after] = await Promise.all([lineage(from, scope.signal), lineage(to, scope.signal)]);
  const found = await diff(before.image.uuid, { to: after.image.uuid, limit: ENTRIES_MAX, path: below }, scope.signal);
  const crumbs = /** @type {const} */ ([['Images', href(['images'])]]);
  const swap = button('Swap', () => go(href(['compare'], { from: to, to: from, path: below })));
  return h(
    'div',
    null,
    pageHead('Compare', { crumbs, about: sides(before.image, after.image), actions: [swap] }),
    found.entries.length === 0
      ? empty('No differences', below === '' ? 'Both images have the same files.' : 'Compare the whole images instead.')
      : changes(found, scope),
  );
}

/**
 * @param {LineageNode} before
 * @param {LineageNode} after
 */
function sides(before, after) {
  /** @param {LineageNode} node */
  const link = (node) => h('a', { href: href(['images', node.uuid]) }, shown(title(node)));
  return ['From ', link(before), ' to ', link(after)];
}

/**
 * @param {DiffResult} found
 * @param {Scope} scope
 */
function changes(found, scope) {
  const { entries, added, removed, modified, truncated } = found;
  const filter = h('input', { type: 'search', placeholder: 'Filter paths', 'aria-label': 'Filter paths' });
  const kind = select(
    [
      ['', 'All changes'],
      ['added', 'Added'],
      ['removed', 'Removed'],
      ['modified', 'Changed'],
      ['metadata', 'Attributes only'],
    ],
    '',
    { 'aria-label': 'Kind of change' },
  );
  const list = h('ol', { class: 'changes' });
  const more = h('div', { class: 'actions' });
  let drawn = ENTRIES_DRAWN;
  const show = () => {
    const left = entries.filter(
      (entry) => (kind.value === '' || entry.change === kind.value) && entry.path.includes(filter.value),
    );
    fill(
      list,
      left.slice(0, drawn).map((entry) => changeItem(found, entry, scope)),
    );
    const rest = left.length - drawn;
    const next = () => {
      drawn += ENTRIES_DRAWN;
      show();
    };
    fill(more, rest > 0 && button(`Show ${count(Math.min(rest, ENTRIES_DRAWN))} more of ${count(rest)}`, next));
    if (left.length === 0) fill(list, h('li', null, empty('No change matches', 'Try a shorter text or another kind.')));
  };
  filter.addEventListener('input', () => ((drawn = ENTRIES_DRAWN), show()));
  kind.addEventListener('change', () => ((drawn = ENTRIES_DRAWN), show()));
  show();
  const sums = [
    badge(`${count(added)} added`, 'good'),
    badge(`${count(removed)} removed`, 'bad'),
    badge(`${count(modified)} changed`, 'accent'),
  ];
  const note = truncated && h('p', { class: 'muted' }, `Only the first ${count(ENTRIES_MAX)} changes are listed.`);
  return h(
    'div',
    null,
    h('div', { class: 'toolbar' }, filter, kind, h('p', { class: 'badges' }, sums)),
    note,
    list,
    more,
  );
}

/**
 * @param {DiffResult} found
 * @param {DiffEntry} entry
 * @param {Scope} scope
 */
function changeItem({ from, to }, entry, scope) {
  const { path, change, type, size, size_before: before, mode, mode_before: modeBefore } = entry;
  const [label, tone] = CHANGES[change];
  const image = change === 'removed' ? from : to;
  const body = h('div', { class: 'change-body' });
  const sizes =
    before === null || size === null || before === size ? bytes(size ?? before) : `${bytes(before)} → ${bytes(size)}`;
  const modes =
    mode !== null && modeBefore !== null && mode !== modeBefore ? `${fileMode(modeBefore)} → ${fileMode(mode)}` : '';
  const facts = [type === 'file' ? sizes : type, modes].filter(Boolean).join(' · ');
  const head = [
    type === 'file' ? icon('chevron') : h('span', { class: 'gap' }),
    badge(label, tone),
    h('code', { class: 'grow ellipsis' }, shown(path)),
    h('span', { class: 'muted nowrap' }, facts),
  ];
  if (type !== 'file') return h('li', { class: 'change' }, h('div', { class: 'change-head' }, head));
  const ontoggle = (/** @type {Event} */ event) => {
    const opened = /** @type {HTMLDetailsElement} */ (event.target).open;
    if (opened && !body.firstChild) void showPatch(body, { from, to, path, image, change }, scope);
  };
  return h('li', { class: 'change' }, h('details', { ontoggle }, h('summary', { class: 'change-head' }, head), body));
}

/** Bytes shown of a file that is in only one of the images. */
const WHOLE_BYTES_MAX = 64 * 1024;

/**
 * @param {HTMLElement} body
 * @param {{ from: string, to: string, path: string, image: string, change: DiffEntry['change'] }} changed
 * @param {Scope} scope
 */
async function showPatch(body, changed, scope) {
  const { path, image } = changed;
  fill(body, h('p', { class: 'muted' }, 'Comparing…'));
  try {
    const lines = await patchLines(changed, scope.signal);
    const why =
      changed.change === 'metadata'
        ? 'Its content is the same; its owner, mode, time or another attribute differs.'
        : 'It is binary or too large to compare line by line.';
    const nothing = h('p', { class: 'muted' }, why);
    fill(
      body,
      lines === undefined ? nothing : patchView(lines),
      h('p', null, h('a', { href: fileHref(image, path) }, 'Open the file')),
    );
  } catch (error) {
    if (!scope.signal.aborted) fill(body, problem(error));
  }
}

/**
 * @param {{ from: string, to: string, path: string, image: string, change: DiffEntry['change'] }} changed
 * @param {AbortSignal} signal
 * @returns {Promise<import('./patch.js').PatchLine[] | undefined>} undefined for what has no lines to compare
 */
async function patchLines({ from, to, path, image, change }, signal) {
  if (change === 'added' || change === 'removed') {
    const { bytes, size } = await readFile(image, { path, offset: 0, length: WHOLE_BYTES_MAX }, signal);
    return size > WHOLE_BYTES_MAX || looksBinary(bytes)
      ? undefined
      : wholeFile(new TextDecoder().decode(bytes), change);
  }
  const { entries } = await diff(from, { to, path, patch: true, limit: 1 }, signal);
  const patch = entries.find((entry) => entry.path === path)?.patch;
  return patch === undefined ? undefined : parsePatch(patch);
}
