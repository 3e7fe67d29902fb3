import { h } from '../../kit/dom.js';
import { bytes, moment, short } from '../../kit/format.js';
import { badge, panel } from '../../kit/parts.js';
import { href } from '../../kit/route.js';
import { cut, shown } from '../../kit/text.js';

/** @import { Lineage, LineageNode } from '../../../../src/contract/image.ts' */

const SHOWN_MAX = 200;

/**
 * Shows the ancestors of an image and the images made from it.
 * @param {Lineage} lineage
 */
export async function lineageView({ image, ancestors, children }) {
  const line = ancestors.slice(0, SHOWN_MAX).toReversed();
  const hidden = ancestors.length - line.length;
  const steps = [...line, image].map((node) => step(node, node.uuid === image.uuid));
  return h(
    'div',
    { class: 'columns' },
    panel('Lineage', [
      hidden > 0 && h('p', { class: 'muted' }, `${hidden} older steps are not shown.`),
      h('ol', { class: 'steps' }, steps),
    ]),
    panel(`Children (${children.length})`, [
      children.length === 0
        ? h('p', { class: 'muted' }, 'None yet. A run that keeps its changes creates a child image.')
        : h(
            'ol',
            { class: 'steps' },
            children.slice(0, SHOWN_MAX).map((node) => step(node, false)),
          ),
      children.length > SHOWN_MAX &&
        h('p', { class: 'muted' }, `${children.length - SHOWN_MAX} more are in the image tree.`),
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
      h('a', { href: href(['images', uuid, 'lineage']) }, tags[0] ?? short(uuid)),
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
