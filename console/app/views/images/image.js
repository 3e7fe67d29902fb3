import { download } from '../../api/download.js';
import { deleteImage, lineage, listImages, removeTag, setTag, v1 } from '../../api/v1.js';
import { h } from '../../kit/dom.js';
import { ask, askText } from '../../kit/dialog.js';
import { counted, moment, short } from '../../kit/format.js';
import { announce, button, buttonLink, iconButton, identifier, pageHead, tabs } from '../../kit/parts.js';
import { go, href } from '../../kit/route.js';
import { cut, shown } from '../../kit/text.js';
import { files } from './files.js';
import { lineageView } from './image-lineage.js';
import { search } from './search.js';

/**
 * @import { Route } from '../../kit/route.js'
 * @import { Scope } from '../../kit/scope.js'
 * @import { Lineage, LineageNode } from '../../../../src/contract/image.ts'
 */

/**
 * @type {Readonly<Record<string, readonly [label: string, view: (known: Lineage, route: Route, scope: Scope) => Promise<Node>]>>}
 */
const PARTS = {
  files: ['Files', files],
  search: ['Search', search],
  lineage: ['Lineage', lineageView],
};

/**
 * Shows one image: its tags, its actions, and its files, a search or its lineage.
 * @param {Route} route
 * @param {Scope} scope
 */
export async function image(route, scope) {
  const [, name = '', part = 'files'] = route.path;
  const known = await lineage(name, scope.signal);
  const { image: self } = known;
  const view = PARTS[part] ?? PARTS['files'];
  const links = Object.entries(PARTS).map(
    ([key, [label]]) => /** @type {const} */ ([label, href(['images', self.uuid, key]), key === part]),
  );
  return h(
    'div',
    { class: 'fill' },
    pageHead(title(self), {
      crumbs: [['Images', href(['images'])]],
      about: about(self),
      actions: actions(known, scope),
    }),
    tags(self, scope),
    tabs('Views of the image', links),
    view ? await view[1](known, route, scope) : null,
  );
}

/** @param {LineageNode} self */
export function title({ tags, uuid }) {
  return tags[0] ?? `Image ${short(uuid)}`;
}

/** @param {LineageNode} self */
function about({ uuid, command, created_at: created, parent_uuid: parent }) {
  return [
    identifier(uuid),
    h('span', { class: 'muted' }, ` ${parent === null ? 'imported' : 'created'} ${moment(created)}`),
    parent !== null &&
      command !== null &&
      h('span', { class: 'muted' }, ' by ', h('code', null, shown(cut(command, 120)))),
  ];
}

/**
 * @param {Lineage} known
 * @param {Scope} scope
 */
function actions({ image: self, children }, scope) {
  const { uuid, parent_uuid: parent } = self;
  return [
    buttonLink('Run a command', href(['run'], { image: uuid }), { kind: 'primary', icon: 'play' }),
    buttonLink('Open an instance', href(['open'], { image: uuid })),
    parent !== null && buttonLink('Show changes', href(['compare'], { from: parent, to: uuid })),
    button('Export', () => void download(v1(`/images/${uuid}/export`), `${short(uuid)}.oci.tar`), {
      icon: 'download',
      title: 'As an OCI layout in a tar archive',
    }),
    button('Delete…', () => void remove(self, children.length, scope).catch(tell), { kind: 'danger' }),
  ];
}

/** @param {unknown} error */
function tell(error) {
  announce(error instanceof Error ? error.message : String(error));
}

/**
 * @param {LineageNode} self
 * @param {number} children
 * @param {Scope} _scope
 */
async function remove(self, children, _scope) {
  const { uuid, tags, parent_uuid: parent } = self;
  const lost = [
    tags.length > 0 && `its ${counted(tags.length, 'tag')}`,
    children > 0 && `everything made from it (${counted(children, 'child', 'children')} and their descendants)`,
  ].filter(Boolean);
  const what = h(
    'p',
    null,
    lost.length > 0 ? `This also deletes ${lost.join(' and ')}.` : 'No other image depends on it.',
    ' This cannot be undone.',
  );
  if (!(await ask(`Delete ${title(self)}?`, [what], { confirm: 'Delete', danger: true }))) return;
  const deleted = await deleteImage(uuid, { cascade: children > 0 });
  announce(`${counted(deleted.length, 'image')} deleted.`);
  go(parent === null ? href(['images']) : href(['images', parent, 'lineage']));
}

/**
 * @param {LineageNode} self
 * @param {Scope} scope
 */
function tags({ uuid, tags: names }, scope) {
  /** @param {string} tag */
  const drop = async (tag) => {
    const text = h('p', null, 'The image is kept and can still be found by its UUID.');
    if (!(await ask(`Remove the tag ${tag}?`, [text], { confirm: 'Remove', danger: true }))) return;
    await removeTag(uuid, { tag });
    announce('Tag removed.');
    scope.reload();
  };
  const add = async () => {
    const known = (await listImages({ tagged: true, limit: 200 }, scope.signal)).map(({ tag }) => tag ?? '');
    const hint = 'Words of a-z 0-9 _ - separated by / : or . A tag of another image moves to this one.';
    const tag = await askText('Tag this image', 'Tag', { confirm: 'Set tag', hint, list: known });
    if (!tag) return;
    const owner = known.includes(tag) && !names.includes(tag);
    const moves = h('p', null, 'Another image has this tag. It will point to this image instead.');
    if (owner && !(await ask(`Move the tag ${tag}?`, [moves], { confirm: 'Move', danger: true }))) return;
    await setTag(uuid, { tag });
    announce('Tag set.');
    scope.reload();
  };
  const chips = names.map((tag) =>
    h(
      'li',
      { class: 'chip' },
      shown(tag),
      iconButton(`Remove the tag ${tag}`, 'close', () => void drop(tag).catch(tell)),
    ),
  );
  return h(
    'ul',
    { class: 'chips', 'aria-label': 'Tags' },
    chips,
    h(
      'li',
      null,
      button('Add a tag', () => void add().catch(tell), { kind: 'quiet', icon: 'plus' }),
    ),
  );
}
