import { listOperations } from '../../api/v1.js';
import { fill, h } from '../../kit/dom.js';
import { age, bytes, duration, moment, short } from '../../kit/format.js';
import { button, buttonLink, empty, pageHead, problem, select, statusBadge, table } from '../../kit/parts.js';
import { go, href } from '../../kit/route.js';
import { every, released } from '../../kit/scope.js';
import { cut, shown } from '../../kit/text.js';

/**
 * @import { Route } from '../../kit/route.js'
 * @import { Scope } from '../../kit/scope.js'
 * @import { OperationSummary } from '../../../../src/contract/operation.ts'
 */

const PAGE = 100;
const REFRESH_MS = 2_000;

/** @type {readonly (readonly [string, string])[]} */
const STATUSES = [
  ['', 'Any status'],
  ['PENDING', 'Queued'],
  ['ASSIGNED', 'Assigned'],
  ['EXECUTING', 'Running'],
  ['SUCCESS', 'Finished'],
  ['FAILED', 'Failed'],
  ['CANCELLED', 'Cancelled'],
];
/** @type {readonly (readonly [string, string])[]} */
const KINDS = [
  ['', 'Runs and imports'],
  ['instance', 'Runs'],
  ['image_import', 'Imports'],
];
/** @type {readonly (readonly [string, string])[]} */
const SINCE = [
  ['', 'Any time'],
  ['15m', 'Last 15 minutes'],
  ['1h', 'Last hour'],
  ['1d', 'Last day'],
  ['1w', 'Last week'],
];

/** Beginning of the subject of a build, before the path of its Dockerfile. */
const BUILT = 'dockerfile:';

/**
 * Lists runs and imports, newest first, and keeps the list up to date. The filters are part of the address.
 * @param {Route} route
 * @param {Scope} scope
 */
export async function operations({ query }, scope) {
  const [status, kind, since] = [query.get('status') ?? '', query.get('kind') ?? '', query.get('since') ?? ''];
  const asked = { status: status || undefined, kind: kind || undefined, since: since || undefined };
  let wanted = PAGE;
  const body = h('div', { class: 'operations' });
  const refresh = async () => {
    /** @type {OperationSummary[]} */
    const found = [];
    while (found.length < wanted) {
      const page = await listOperations({ ...asked, limit: PAGE, offset: found.length }, scope.signal);
      found.push(...page);
      if (page.length < PAGE) break;
    }
    const more = () => {
      wanted += PAGE;
      void refresh();
    };
    await released();
    draw(body, found, found.length >= wanted ? more : undefined, status + kind + since !== '');
  };
  await refresh();
  every(scope, REFRESH_MS, refresh, (error) => fill(body, problem(error, scope.reload)));
  /**
   * @param {string} name
   * @param {string} label
   * @param {readonly (readonly [string, string])[]} options
   * @param {string} value
   */
  const filter = (name, label, options, value) => {
    const onchange = (/** @type {Event} */ event) => {
      const chosen = /** @type {HTMLSelectElement} */ (event.target).value;
      go(href(['operations'], { status, kind, since, [name]: chosen }));
    };
    return select(options, value, { 'aria-label': label, onchange });
  };
  const actions = [
    buttonLink('Run a command', href(['run']), { kind: 'primary', icon: 'play' }),
    buttonLink('Import an image', href(['import'])),
  ];
  return h(
    'div',
    null,
    pageHead('Operations', {
      about: 'Operations continue when you leave the page; their output can be replayed.',
      actions,
    }),
    h(
      'div',
      { class: 'toolbar' },
      filter('status', 'Status', STATUSES, status),
      filter('kind', 'Kind', KINDS, kind),
      filter('since', 'Time', SINCE, since),
    ),
    body,
  );
}

/** Columns as [name, class]. @type {readonly (readonly [string, string])[]} */
const COLUMNS = [
  ['Status', ''],
  ['Command', ''],
  ['Image', 'wide-only'],
  ['Time', 'number-cell'],
  ['CPU', 'number-cell wide-only'],
  ['Memory', 'number-cell wide-only'],
  ['Created', ''],
];

/**
 * @param {HTMLElement} body
 * @param {readonly OperationSummary[]} found
 * @param {(() => void) | undefined} more
 * @param {boolean} filtered
 */
function draw(body, found, more, filtered) {
  if (found.length === 0) {
    const next = filtered ? 'Change the filters.' : 'Run a command in an image, or import one.';
    fill(body, empty(filtered ? 'No operations match' : 'Nothing has run yet', next));
    return;
  }
  const focused =
    document.activeElement instanceof HTMLAnchorElement && body.contains(document.activeElement)
      ? document.activeElement.href
      : '';
  fill(body, table('Operations', COLUMNS, found.map(row)), more && button('Show older operations', more));
  // The list is redrawn every few seconds; the keyboard focus stays where it was.
  if (focused !== '')
    [...body.querySelectorAll('a')].find((link) => link.href === focused)?.focus({ preventScroll: true });
}

/** @param {OperationSummary} operation */
function row(operation) {
  const { uuid, kind, subject = '', error, image_uuid: image, result_image_uuid: result } = operation;
  const shownImage = result ?? image;
  return h(
    'tr',
    null,
    h('td', null, statusBadge(operation)),
    h(
      'td',
      { class: 'what' },
      h(
        'a',
        { href: href(['operations', uuid]) },
        kind === 'image_import' && (subject.startsWith(BUILT) ? 'Build ' : 'Import '),
        h('code', null, shown(cut(subject.replace(BUILT, ''), 160) || short(uuid))),
      ),
      error !== null && h('p', { class: 'error-line' }, shown(cut(error, 200))),
    ),
    h(
      'td',
      { class: 'wide-only' },
      shownImage && h('a', { href: href(['images', shownImage]) }, h('code', null, short(shownImage))),
      result !== null && image !== null && result !== image && ' new',
    ),
    h('td', { class: 'number-cell' }, operation.duration > 0 ? duration(operation.duration) : '–'),
    h('td', { class: 'number-cell wide-only' }, duration(operation.consumed_cpu)),
    h(
      'td',
      { class: 'number-cell wide-only' },
      bytes(operation.consumed_memory === null ? null : operation.consumed_memory * 1024),
    ),
    h('td', { class: 'nowrap', title: moment(operation.created_at) }, age(operation.created_at)),
  );
}
