import { download } from '../../api/download.js';
import { listDirectory, stat, v1 } from '../../api/v1.js';
import { fill, h, icon } from '../../kit/dom.js';
import { bytes, counted, fileMode, moment, short } from '../../kit/format.js';
import { button, empty, problem } from '../../kit/parts.js';
import { href } from '../../kit/route.js';
import { Rows } from '../../kit/rows.js';
import { plain, shown } from '../../kit/text.js';
import { file } from './file.js';

/**
 * @import { Route } from '../../kit/route.js'
 * @import { Scope } from '../../kit/scope.js'
 * @import { Lineage } from '../../../../src/contract/image.ts'
 * @import { FileItem } from '../../../../src/contract/inspect.ts'
 * @import { IconName } from '../../kit/dom.js'
 */

const ROW_PX = 32;

/**
 * Shows what is at a path of an image: a directory to browse or a file to read. No sandbox is started.
 * @param {Lineage} lineage
 * @param {Route} route
 * @param {Scope} scope
 */
export async function files({ image: { uuid } }, route, scope) {
  const path = normal(route.query.get('path') ?? '/');
  const place = h('div', { class: 'fill' }, breadcrumbs(uuid, path));
  try {
    const found = await stat(uuid, { path }, scope.signal);
    if (found.is_dir) place.append(await directory(uuid, path, scope));
    else if (found.is_regular) place.append(await file(uuid, { path, size: found.size }, route, scope));
    else place.append(special(uuid, path, found));
  } catch (error) {
    scope.signal.throwIfAborted();
    place.append(problem(error, scope.reload));
  }
  return place;
}

/**
 * @param {string} image
 * @param {string} path
 * @param {Record<string, string | number | undefined>} [more]
 */
export function fileHref(image, path, more = {}) {
  return href(['images', image, 'files'], { path, ...more });
}

/** @param {string} path */
function normal(path) {
  return `/${path.split('/').filter(Boolean).join('/')}`;
}

/**
 * @param {string} directory
 * @param {string} name may be absolute, as targets of symlinks are
 */
export function join(directory, name) {
  /** @type {string[]} */
  const names = [];
  for (const part of (name.startsWith('/') ? name : `${directory}/${name}`).split('/')) {
    if (part === '..') names.pop();
    else if (part !== '' && part !== '.') names.push(part);
  }
  return `/${names.join('/')}`;
}

/**
 * @param {string} image
 * @param {string} path
 */
function breadcrumbs(image, path) {
  const names = path.split('/').filter(Boolean);
  const links = names.map((name, index) => {
    const here = `/${names.slice(0, index + 1).join('/')}`;
    const last = index === names.length - 1;
    return h('li', null, h('a', { href: fileHref(image, here), 'aria-current': last && 'page' }, shown(name)));
  });
  const root = h('li', null, h('a', { href: fileHref(image, '/'), 'aria-current': names.length === 0 && 'page' }, '/'));
  return h('nav', { 'aria-label': 'Path' }, h('ol', { class: 'path' }, root, links));
}

/**
 * @param {string} image
 * @param {string} path
 * @param {Scope} scope
 */
async function directory(image, path, scope) {
  const { files: found } = await listDirectory(image, { path }, scope.signal);
  const all = found.toSorted(
    (one, other) => Number(other.is_dir) - Number(one.is_dir) || (one.path < other.path ? -1 : 1),
  );
  const draw = (/** @type {FileItem} */ item, /** @type {number} */ index) => row(image, path, item, index);
  const table = new Rows({
    rowPx: ROW_PX,
    draw,
    props: { class: 'file-rows narrow', role: 'table', 'aria-label': 'Entries' },
  });
  const total = h('p', { class: 'muted', role: 'status' });
  const filter = h('input', { type: 'search', placeholder: 'Filter names', 'aria-label': 'Filter names' });
  const body = h('div', { class: 'tree-place' });
  const show = () => {
    const text = filter.value.toLowerCase();
    const rows = text === '' ? all : all.filter((item) => item.path.toLowerCase().includes(text));
    table.element.setAttribute('aria-rowcount', String(rows.length));
    table.set(rows);
    fill(
      total,
      rows.length === all.length
        ? counted(all.length, 'entry', 'entries')
        : `${rows.length} of ${counted(all.length, 'entry', 'entries')}`,
    );
    const nothing =
      all.length === 0
        ? empty('This directory is empty', 'Use the path above to go up.')
        : empty('No name matches', 'Try a shorter text.');
    fill(body, rows.length === 0 ? nothing : table.element);
  };
  filter.addEventListener('input', show);
  queueMicrotask(show);
  const address = v1(`/inspect/${image}/archive`, { path });
  const name = `${short(image)}${path === '/' ? '' : path}.tar`;
  const save = button('Download as tar', () => void download(address, name.replaceAll('/', '-')), { icon: 'download' });
  return h(
    'div',
    { class: 'fill' },
    h('div', { class: 'toolbar' }, filter, total, h('div', { class: 'actions' }, save)),
    body,
  );
}

/**
 * @param {FileItem} item
 * @returns {IconName}
 */
function iconOf({ is_dir: directory, is_regular: regular, is_symlink: symlink }) {
  if (directory) return 'folder';
  if (symlink) return 'link';
  return regular ? 'file' : 'special';
}

/**
 * @param {string} image
 * @param {string} directory
 * @param {FileItem} item
 * @param {number} index
 */
function row(image, directory, item, index) {
  const {
    path: name,
    size,
    mode,
    mtime,
    owner,
    group,
    is_symlink: symlink,
    symlink_to: target,
    is_regular: regular,
  } = item;
  const time = new Date(mtime * 1000);
  /**
   * @param {string} className
   * @param {import('../../kit/dom.js').Child | import('../../kit/dom.js').Child[]} content
   */
  const cell = (className, content) => h('span', { role: 'cell', class: className }, content);
  const link = h('a', { href: fileHref(image, join(directory, `./${name}`)), title: plain(name) }, shown(name));
  const to =
    symlink &&
    h('span', null, ' → ', h('a', { class: 'muted', href: fileHref(image, join(directory, target)) }, shown(target)));
  return h(
    'div',
    { role: 'row', class: 'file-row', 'aria-rowindex': index + 1 },
    cell('grow ellipsis', [icon(iconOf(item)), link, to]),
    cell('file-size', regular ? bytes(size) : ''),
    cell('file-mode', h('code', null, fileMode(mode))),
    cell('file-owner', [shown(String(owner)), ':', shown(String(group))]),
    cell('file-time', Number.isNaN(time.getTime()) ? String(mtime) : moment(time.toISOString())),
  );
}

/**
 * @param {string} image
 * @param {string} path
 * @param {FileItem} item
 */
function special(image, path, item) {
  if (!item.is_symlink)
    return empty('This entry has no content', `It is a device, a socket or a FIFO (${fileMode(item.mode)}).`);
  const target = join(path.replace(/\/[^/]*$/u, ''), item.symlink_to);
  return empty('A symbolic link', [
    'It points to ',
    h('a', { href: fileHref(image, target) }, shown(item.symlink_to)),
    '.',
  ]);
}
