import { h } from '../../kit/dom.js';
import { count } from '../../kit/format.js';
import { cut, shown } from '../../kit/text.js';

/**
 * One line of a unified diff, with its numbers in the file before and after.
 * @typedef {{ kind: 'same' | 'added' | 'removed' | 'hunk' | 'note', text: string, before?: number, after?: number }} PatchLine
 */

const LINES_MAX = 2_000;
const LINE_CHARACTERS_MAX = 1_000;

/**
 * @param {string} patch unified diff of one file
 * @returns {PatchLine[]} without its two head lines
 */
export function parsePatch(patch) {
  let [before, after] = [0, 0];
  let begun = false;
  /** @type {PatchLine[]} */
  const lines = [];
  for (const line of patch.replace(/\n$/u, '').split('\n')) {
    const [, one, other] = /^@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@/u.exec(line) ?? [];
    if (one !== undefined) {
      [before, after, begun] = [Number(one), Number(other), true];
      lines.push({ kind: 'hunk', text: line });
    } else if (!begun) continue;
    else if (line.startsWith('+')) lines.push({ kind: 'added', text: line.slice(1), after: after++ });
    else if (line.startsWith('-')) lines.push({ kind: 'removed', text: line.slice(1), before: before++ });
    else if (line.startsWith('\\')) lines.push({ kind: 'note', text: line.slice(2) });
    else lines.push({ kind: 'same', text: line.slice(1), before: before++, after: after++ });
  }
  return lines;
}

/**
 * Returns the lines of a file that is in only one of two images.
 * @param {string} text
 * @param {'added' | 'removed'} kind
 * @returns {PatchLine[]}
 */
export function wholeFile(text, kind) {
  const side = kind === 'added' ? 'after' : 'before';
  return text
    .replace(/\n$/u, '')
    .split('\n')
    .map((line, index) => ({ kind, text: line, [side]: index + 1 }));
}

/** @type {Readonly<Record<PatchLine['kind'], string>>} */
const SIGNS = { same: ' ', added: '+', removed: '-', hunk: '', note: '' };

/** @param {readonly PatchLine[]} lines */
export function patchView(lines) {
  const rows = lines
    .slice(0, LINES_MAX)
    .map(({ kind, text, before, after }) =>
      h(
        'tr',
        { class: `patch-${kind}` },
        h('td', { class: 'patch-number' }, before),
        h('td', { class: 'patch-number' }, after),
        h('td', { class: 'patch-text' }, SIGNS[kind], shown(cut(text, LINE_CHARACTERS_MAX), { lines: true })),
      ),
    );
  const rest = lines.length - rows.length;
  return h(
    'div',
    { class: 'patch', tabindex: 0, role: 'group', 'aria-label': 'Line-by-line difference' },
    h('table', null, h('tbody', null, rows)),
    rest > 0 && h('p', { class: 'muted' }, `${count(rest)} more lines are not shown.`),
  );
}
