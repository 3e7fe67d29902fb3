import { h } from '../../kit/dom.js';
import { bytes, moment, short } from '../../kit/format.js';
import { badge, panel } from '../../kit/parts.js';
import { href } from '../../kit/route.js';
import { cut, shown } from '../../kit/text.js';

/** @import { Lineage, LineageNode } from '../../../../src/contract/image.ts' */

const SHOWN_MAX = 200;

/**
 * Where an image comes from and what was made from it.
 * @param {Lineage} family
 */
export async function descent({ image, ancestors, children }) {
  const line = ancestors.slice(0, SHOWN_MAX).toReversed();
  const hidden = ancestors.length - line.length;
  const steps = [...line, image].map((node) => step(node, node.uuid === image.uuid));
  return h(
    'div',
    { class: 'columns' },
    panel('How it came to be', [
      hidden > 0 && h('p', { class: 'muted' }, `${hidden} older steps are not shown.`),
      h('ol', { class: 'steps' }, steps),
    ]),
    panel(`Made from it (${children.length})`, [
      children.length === 0
        ? h('p', { class: 'muted' }, 'Nothing yet. A run that keeps its changes makes a child.')
        : h(
            'ol',
            { class: 'steps' },
            children.slice(0, SHOWN_MAX).map((node) => step(node, false)),
          ),
      children.length > SHOWN_MAX &&
        h('p', { class: 'muted' }, `${children.length - SHOWN_MAX} more are in the tree of images.`),
    ]),
  );
}

/**
 * @param {LineageNode} node
 * @param {boolean} current
 */
function step(
  { uuid, tags, command, exit_code: code, layer_bytes: added, created_at: created, operation_uuid: operation },
  current,
) {
  const how = command === 'import' ? 'imported' : h('code', null, shown(cut(command ?? '', 400)));
  return h(
    'li',
    { class: current ? 'step current' : 'step', 'aria-current': current && 'true' },
    h(
      'div',
      null,
      h('a', { href: href(['images', uuid, 'descent']) }, tags[0] ?? short(uuid)),
      ' ',
      code !== null && code !== 0 && badge(`exit ${code}`, 'warn'),
    ),
    h('div', { class: 'step-how' }, how),
    h(
      'div',
      { class: 'muted' },
      `${moment(created)}${added === null ? '' : ` · +${bytes(added)}`}`,
      operation !== null && [' · ', h('a', { href: href(['operations', operation]) }, 'operation')],
    ),
  );
}
