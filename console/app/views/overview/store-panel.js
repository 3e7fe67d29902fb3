import { gc, listImages } from '../../api/v1.js';
import { fill, h } from '../../kit/dom.js';
import { ask } from '../../kit/dialog.js';
import { bytes, count } from '../../kit/format.js';
import { announce, bar, button, panel, problem } from '../../kit/parts.js';
import { shown } from '../../kit/text.js';

/**
 * @import { Scope } from '../../kit/scope.js'
 * @import { GcReport, WhoAmIResponse } from '../../../../src/contract/contree.ts'
 */

const USES_SHOWN = 6;
/** A page of the API: more images are told as "so many or more". */
export const IMAGES_COUNTED = 1_000;

/**
 * What uses space: for administrators all of it, for others what their own images have added.
 * @param {WhoAmIResponse} who
 * @param {Scope} scope
 */
export function storePanel({ permissions }, scope) {
  const body = h('div', { 'aria-live': 'polite' });
  if (permissions['admin'] !== true) {
    ownImages(scope.signal).then(
      (told) => fill(body, told),
      (error) => scope.signal.aborted || fill(body, problem(error)),
    );
    return panel('Store', [body]);
  }
  const look = async () => {
    try {
      fill(body, usage(await gc({ remove: false })));
    } catch (error) {
      fill(
        body,
        problem(error, () => void look()),
      );
    }
  };
  const clean = async () => {
    const report = await gc({ remove: false });
    const what = `${bytes(report.freed_bytes)}: ${parts(report)}. Images stay; uploads and output that were not used for 30 days go.`;
    if (!(await ask('Free what nothing uses?', [h('p', null, what)], { confirm: 'Free it', danger: true }))) return;
    announce(`Freed ${bytes((await gc({ remove: true })).freed_bytes)}.`);
    await look();
  };
  void look();
  const free = button(
    'Free space…',
    () =>
      void clean().catch((error) =>
        fill(
          body,
          problem(error, () => void look()),
        ),
      ),
    { kind: 'quiet' },
  );
  return panel('Store', [body], { actions: [free] });
}

/** @param {AbortSignal} signal */
async function ownImages(signal) {
  const images = await listImages({ limit: IMAGES_COUNTED }, signal);
  const added = images.reduce((sum, { layer_bytes: one }) => sum + (one ?? 0), 0);
  const which = images.length < IMAGES_COUNTED ? 'Your' : `The newest ${count(IMAGES_COUNTED)} of your`;
  return [
    h('p', null, `${which} images have added ${bytes(added)} to what they were made from.`),
    h(
      'p',
      { class: 'muted' },
      'What the whole store uses is told to its owner by ',
      h('code', null, 'contree gc --dry-run'),
      '.',
    ),
  ];
}

/** @param {GcReport} report */
function parts({ images, layers, files, events }) {
  return `${count(images)} images, ${count(layers)} layers, ${count(files)} files, ${count(events)} logs`;
}

/** @param {GcReport} report */
function usage(report) {
  const total = report.usage.reduce((sum, { bytes }) => sum + bytes, 0);
  if (total === 0) return h('p', { class: 'muted' }, 'The store is empty.');
  const rows = report.usage.slice(0, USES_SHOWN).map(({ what, bytes: used }) => {
    return h(
      'tr',
      null,
      h('th', { scope: 'row' }, shown(what)),
      h('td', { class: 'number-cell' }, bytes(used)),
      h('td', { class: 'bar-cell' }, bar(used, total)),
    );
  });
  const free = report.freed_bytes > 0 ? ` Nothing uses ${bytes(report.freed_bytes)} of it.` : '';
  return h(
    'div',
    null,
    h('p', { class: 'muted' }, `${bytes(total)} in all.${free}`),
    h('table', { class: 'plain-table' }, h('tbody', null, rows)),
  );
}
