import { grep } from '../../api/v1.js';
import { fill, h } from '../../kit/dom.js';
import { counted } from '../../kit/format.js';
import { empty, field, problem, select } from '../../kit/parts.js';
import { go, href } from '../../kit/route.js';
import { shown } from '../../kit/text.js';
import { fileHref } from './files.js';

/**
 * @import { Route } from '../../kit/route.js'
 * @import { Scope } from '../../kit/scope.js'
 * @import { Lineage } from '../../../../src/contract/image.ts'
 * @import { GrepMatch, GrepResult } from '../../../../src/contract/inspect.ts'
 */

const MATCHES_MAX = 500;
const LINE_BYTES_MAX = 400;

/**
 * Searches the files of an image; the query is part of the address.
 * @param {Lineage} lineage
 * @param {Route} route
 * @param {Scope} scope
 */
export async function search({ image: { uuid } }, { query }, scope) {
  const pattern = h('input', {
    type: 'text',
    value: query.get('pattern') ?? '',
    spellcheck: 'false',
    autocomplete: 'off',
  });
  const path = h('input', { type: 'text', value: query.get('path') ?? '', placeholder: '/', spellcheck: 'false' });
  const glob = h('input', { type: 'text', value: query.get('glob') ?? '', placeholder: '*.py', spellcheck: 'false' });
  const letters = select(
    [
      ['sensitive', 'Match case'],
      ['insensitive', 'Ignore case'],
      ['smart', 'Smart case'],
    ],
    query.get('case') ?? 'sensitive',
  );
  const onsubmit = (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    const asked = { pattern: pattern.value, path: path.value, glob: glob.value, case: letters.value };
    go(href(['images', uuid, 'search'], asked));
  };
  const form = h(
    'form',
    { class: 'search-form', onsubmit },
    field('Regular expression', pattern, { required: true }),
    field('Directory', path),
    field('File names', glob),
    field('Case', letters),
    h('button', { class: 'button primary' }, 'Search'),
  );
  const body = h('div', { class: 'results', 'aria-live': 'polite' });
  if (pattern.value === '')
    fill(body, empty('Search without a sandbox', 'Files are read directly from the image; binary files are skipped.'));
  else {
    fill(body, h('p', { class: 'muted' }, 'Searching…'));
    const asked = {
      pattern: pattern.value,
      path: path.value || undefined,
      glob: glob.value || undefined,
      case: letters.value,
    };
    grep(uuid, { ...asked, max_total: MATCHES_MAX }, scope.signal).then(
      (result) => fill(body, results(uuid, result)),
      (error) => scope.signal.aborted || fill(body, problem(error, scope.reload)),
    );
  }
  return h('div', null, form, body);
}

/**
 * @param {string} image
 * @param {GrepResult} result
 */
function results(image, { matches, truncated }) {
  const found = matches.filter(({ type }) => type === 'match');
  if (found.length === 0) return empty('No matches', 'Try another expression, a wider path, or ignore case.');
  const byFile = Map.groupBy(found, ({ path }) => path);
  const more = truncated ? ' There are more: narrow the search by path or name.' : '';
  return [
    h(
      'p',
      { role: 'status' },
      `${counted(found.length, 'match', 'matches')} in ${counted(byFile.size, 'file')}.${more}`,
    ),
    ...[...byFile].map(([path, lines]) =>
      h(
        'section',
        { class: 'result-file' },
        h('h2', null, h('a', { href: fileHref(image, path) }, shown(path))),
        h(
          'ol',
          { class: 'result-lines' },
          lines.map((match) => resultLine(image, match)),
        ),
      ),
    ),
  ];
}

/**
 * @param {string} image
 * @param {GrepMatch} match
 */
function resultLine(image, { path, line_number: number, line_text: text, absolute_offset: offset, submatches }) {
  // Submatches count bytes.
  const bytes = new TextEncoder().encode(text.replace(/\r?\n$/u, ''));
  const decoder = new TextDecoder();
  /** @type {Node[]} */
  const pieces = [];
  let end = 0;
  for (const { start, end: stop } of submatches) {
    if (start < end || start >= LINE_BYTES_MAX) continue;
    pieces.push(shown(decoder.decode(bytes.subarray(end, start))));
    end = Math.min(stop, LINE_BYTES_MAX);
    pieces.push(h('mark', null, shown(decoder.decode(bytes.subarray(start, end)))));
  }
  pieces.push(shown(decoder.decode(bytes.subarray(end, Math.max(end, LINE_BYTES_MAX)))));
  const cut = bytes.length > LINE_BYTES_MAX ? '…' : '';
  const at = fileHref(image, path, { at: Math.max(0, offset), as: 'text' });
  return h(
    'li',
    null,
    h('a', { class: 'line-number', href: at, 'aria-label': `Line ${number}` }, String(number)),
    h('code', null, pieces, cut),
  );
}
