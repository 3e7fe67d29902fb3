/**
 * @typedef {{ kind: 'heading', level: number, text: string }
 *   | { kind: 'code' | 'paragraph', text: string }
 *   | { kind: 'list', ordered: boolean, items: string[] }
 *   | { kind: 'table', rows: string[][] }} Block
 */

/**
 * Parses the Markdown of our own guides: headings, paragraphs, fenced code, flat lists, tables.
 * @param {string} text
 * @returns {Block[]}
 */
export function markdown(text) {
  /** @type {Block[]} */
  const blocks = [];
  const lines = text.split('\n');
  for (let at = 0; at < lines.length; at += 1) {
    const line = lines[at] ?? '';
    if (line.startsWith('```')) {
      const end = lines.findIndex((other, index) => index > at && other.startsWith('```'));
      const stop = end === -1 ? lines.length : end;
      blocks.push({ kind: 'code', text: lines.slice(at + 1, stop).join('\n') });
      at = stop;
    } else if (line.trim() !== '') addLine(blocks, line, (lines[at - 1] ?? '').trim() === '');
  }
  return blocks;
}

/**
 * @param {Block[]} blocks
 * @param {string} line
 * @param {boolean} afterBlank
 */
function addLine(blocks, line, afterBlank) {
  const last = blocks.at(-1);
  const [, marks = '', heading] = /^(#{1,6}) (.*)$/u.exec(line) ?? [];
  const [, bullet, item = ''] = /^\s*([-*]|\d+\.) (.*)$/u.exec(line) ?? [];
  if (heading !== undefined) blocks.push({ kind: 'heading', level: marks.length, text: heading });
  else if (bullet !== undefined) {
    const ordered = /\d/u.test(bullet);
    if (last?.kind === 'list' && last.ordered === ordered) last.items.push(item);
    else blocks.push({ kind: 'list', ordered, items: [item] });
  } else if (line.startsWith('|')) {
    const cells = line
      .replace(/^\||\|\s*$/gu, '')
      .split('|')
      .map((cell) => cell.trim());
    if (cells.every((cell) => /^:?-+:?$/u.test(cell))) return;
    if (last?.kind === 'table') last.rows.push(cells);
    else blocks.push({ kind: 'table', rows: [cells] });
  } else if (!afterBlank && last?.kind === 'list') last.items[last.items.length - 1] += ` ${line.trim()}`;
  else if (!afterBlank && last?.kind === 'paragraph') last.text += ` ${line.trim()}`;
  else blocks.push({ kind: 'paragraph', text: line });
}
