import { gc, listImages } from '../../api/v1.js';
import { fill, h } from '../../kit/dom.js';
import { ask } from '../../kit/dialog.js';
import { bytes, count } from '../../kit/format.js';
import { announce, bar, button, panel, problem } from '../../kit/parts.js';
import { shown } from '../../kit/text.js';

/**
 * @import { Scope } from '../../kit/scope.js'
 * @import { GcReport, WhoAmIResponse } from '../../../../src/contract/server.ts'
 */

const USES_SHOWN = 6;
/** Largest page of the API: larger numbers of images are shown as "or more". */
export const IMAGES_COUNTED = 1_000;

/**
 * Returns the panel about disk usage: of the whole store for administrators, of their own images for others.
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
      fill(body, usage(await gc({ dry_run: true })));
    } catch (error) {
      fill(
        body,
        problem(error, () => void look()),
      );
    }
  };
  const clean = async () => {
    const report = await gc({ dry_run: true });
    const what = `${bytes(report.freed_bytes)}: ${parts(report)}. Images are kept; uploads and output unused for 30 days are deleted.`;
    if (!(await ask('Free unused space?', [h('p', null, what)], { confirm: 'Free space', danger: true }))) return;
    announce(`Freed ${bytes((await gc()).freed_bytes)}.`);
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
    h('p', null, `${which} images add ${bytes(added)} to their parents.`),
    h(
      'p',
      { class: 'muted' },
      'The owner of the server sees the usage of the whole store with ',
      h('code', null, 'contree gc --dry-run'),
      '.',
    ),
  ];
}

/** @param {GcReport} report */
function parts({ images, layers, files, events, templates, freed_memory_bytes: memory }) {
  const rows = `${count(images)} images, ${count(layers)} layers, ${count(files)} files, ${count(events)} logs`;
  return templates > 0 ? `${rows}, ${count(templates)} templates (${bytes(memory)} of memory)` : rows;
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
  const free = report.freed_bytes > 0 ? ` ${bytes(report.freed_bytes)} of it is unused.` : '';
  return h(
    'div',
    null,
    h('p', { class: 'muted' }, `${bytes(total)} in total.${free}`),
    h('table', { class: 'plain-table' }, h('tbody', null, rows)),
  );
}
