import { download } from '../../api/download.js';
import { deleteImage, lineage, listImages, removeTag, setTag, v1 } from '../../api/v1.js';
import { h } from '../../kit/dom.js';
import { ask, askText } from '../../kit/dialog.js';
import { counted, moment, short } from '../../kit/format.js';
import { announce, button, buttonLink, iconButton, identifier, pageHead, tabs } from '../../kit/parts.js';
import { go, href } from '../../kit/route.js';
import { cut, shown } from '../../kit/text.js';
import { files } from './files.js';
import { descent } from './image-descent.js';
import { search } from './search.js';

/**
 * @import { Route } from '../../kit/route.js'
 * @import { Scope } from '../../kit/scope.js'
 * @import { Lineage, LineageNode } from '../../../../src/contract/image.ts'
 */

/** @type {Readonly<Record<string, readonly [label: string, view: (family: Lineage, route: Route, scope: Scope) => Promise<Node>]>>} */
const PARTS = {
  files: ['Files', files],
  search: ['Search', search],
  descent: ['Descent', descent],
};

/**
 * One image: its tags, what can be done with it, and its files, a search, or where it comes from.
 * @param {Route} route
 * @param {Scope} scope
 */
export async function image(route, scope) {
  const [, name = '', part = 'files'] = route.path;
  const family = await lineage(name, scope.signal);
  const { image: self } = family;
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
      actions: actions(family, scope),
    }),
    tags(self, scope),
    tabs('Parts of the image', links),
    view ? await view[1](family, route, scope) : null,
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
    h('span', { class: 'muted' }, ` ${parent === null ? 'imported' : 'made'} ${moment(created)}`),
    parent !== null &&
      command !== null &&
      h('span', { class: 'muted' }, ' by ', h('code', null, shown(cut(command, 120)))),
  ];
}

/**
 * @param {Lineage} family
 * @param {Scope} scope
 */
function actions({ image: self, children }, scope) {
  const { uuid, parent_uuid: parent } = self;
  return [
    buttonLink('Run on it', href(['run'], { image: uuid }), { kind: 'primary', icon: 'play' }),
    parent !== null && buttonLink('What it changed', href(['compare'], { from: parent, to: uuid })),
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
    children > 0 &&
      `everything that was made from it (${counted(children, 'child', 'children')} and what came of them)`,
  ].filter(Boolean);
  const what = h(
    'p',
    null,
    lost.length > 0 ? `This also deletes ${lost.join(' and ')}.` : 'Nothing else depends on it.',
    ' It cannot be undone.',
  );
  if (!(await ask(`Delete ${title(self)}?`, [what], { confirm: 'Delete it', danger: true }))) return;
  const { deleted } = await deleteImage(uuid, children > 0);
  announce(`${counted(deleted.length, 'image')} deleted.`);
  go(parent === null ? href(['images']) : href(['images', parent, 'descent']));
}

/**
 * @param {LineageNode} self
 * @param {Scope} scope
 */
function tags({ uuid, tags: names }, scope) {
  /** @param {string} tag */
  const drop = async (tag) => {
    const text = h('p', null, 'The image stays, and can still be reached by its UUID.');
    if (!(await ask(`Remove the tag ${tag}?`, [text], { confirm: 'Remove it', danger: true }))) return;
    await removeTag(uuid, tag);
    announce('The tag is removed.');
    scope.reload();
  };
  const add = async () => {
    const known = (await listImages({ tagged: true, limit: 200 }, scope.signal)).flatMap((image) => image.tags ?? []);
    const hint = 'Words of a-z 0-9 _ - separated by / : or . A tag that another image has moves here.';
    const tag = await askText('Tag this image', 'Tag', { confirm: 'Set the tag', hint, list: known });
    if (!tag) return;
    const owner = known.includes(tag) && !names.includes(tag);
    const moves = h('p', null, 'Another image has this tag. It will point here instead.');
    if (owner && !(await ask(`Move the tag ${tag}?`, [moves], { confirm: 'Move it', danger: true }))) return;
    await setTag(uuid, tag);
    announce('The tag is set.');
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
