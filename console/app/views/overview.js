import { parseMetrics, routesOf } from '../api/metrics.js';
import { doctor, gc, listImages, listOperations, metricsText, whoami } from '../api/v1.js';
import { fill, h, icon } from '../kit/dom.js';
import { ask } from '../kit/dialog.js';
import { age, bytes, count, duration } from '../kit/format.js';
import {
  announce,
  badge,
  bar,
  button,
  buttonLink,
  empty,
  facts,
  pageHead,
  panel,
  problem,
  statusBadge,
} from '../kit/parts.js';
import { href } from '../kit/route.js';
import { every } from '../kit/scope.js';
import { cut, shown } from '../kit/text.js';

/**
 * @import { Route } from '../kit/route.js'
 * @import { Scope } from '../kit/scope.js'
 * @import { OperationSummary } from '../../../src/contract/operation.ts'
 * @import { DoctorCheck, GcReport, WhoAmIResponse } from '../../../src/contract/contree.ts'
 */

const REFRESH_MS = 4_000;
const USES_SHOWN = 6;
const IMAGES_COUNTED = 1_000;

/**
 * @param {Route} _route
 * @param {Scope} scope
 */
export async function overview(_route, scope) {
  const who = await whoami(scope.signal);
  const numbers = h('div', { class: 'numbers' });
  const recent = h('div');
  const refresh = async () => {
    const [now, latest, images] = await Promise.all([
      whoami(scope.signal),
      listOperations({ limit: 6 }, scope.signal),
      listImages({ limit: IMAGES_COUNTED }, scope.signal),
    ]);
    fill(numbers, numberCards(now, images.length));
    fill(recent, latest.length > 0 ? latest.map(operationLine) : firstSteps());
  };
  await refresh();
  every(scope, REFRESH_MS, refresh);
  const actions = [buttonLink('Run a command', href(['run']), { kind: 'primary', icon: 'play' })];
  return h(
    'div',
    null,
    pageHead('Overview', { about: 'Root inside isolated microVMs, on your own machine.', actions }),
    numbers,
    h(
      'div',
      { class: 'columns' },
      h(
        'div',
        null,
        panel('Latest operations', [recent], { actions: [h('a', { href: href(['operations']) }, 'All operations')] }),
        doctorPanel(who, scope),
      ),
      h('div', null, limitsPanel(who), storePanel(who, scope), trafficPanel(who, scope)),
    ),
  );
}

/**
 * @param {WhoAmIResponse} who
 * @param {number} images
 */
function numberCards({ operations_stat: stat, limits }, images) {
  const running = (stat['EXECUTING'] ?? 0) + (stat['ASSIGNED'] ?? 0);
  /** @type {[string, string, string][]} */
  const cards = [
    [
      `${count(running)} / ${count(limits['instance_max_concurrency'] ?? 0)}`,
      'running now',
      href(['operations'], { status: 'EXECUTING' }),
    ],
    [count(stat['PENDING'] ?? 0), 'waiting', href(['operations'], { status: 'PENDING' })],
    [count(stat['SUCCESS'] ?? 0), 'finished', href(['operations'], { status: 'SUCCESS' })],
    [count(stat['FAILED'] ?? 0), 'failed', href(['operations'], { status: 'FAILED' })],
    [images >= IMAGES_COUNTED ? `${count(IMAGES_COUNTED)}+` : count(images), 'images', href(['images'])],
  ];
  return cards.map(([value, label, address]) =>
    h(
      'a',
      { class: 'number', href: address },
      h('span', { class: 'number-value' }, value),
      h('span', { class: 'number-label' }, label),
    ),
  );
}

/** @param {OperationSummary} operation */
function operationLine(operation) {
  const { uuid, subject = '', created_at: created, duration: seconds } = operation;
  return h(
    'a',
    { class: 'line', href: href(['operations', uuid]) },
    statusBadge(operation),
    h('code', { class: 'grow ellipsis' }, shown(cut(subject, 200))),
    h('span', { class: 'muted nowrap' }, `${duration(seconds)} · ${age(created)}`),
  );
}

function firstSteps() {
  return empty(
    'Nothing has run yet',
    'Import an image, then run a command on it. Or connect your agent and let it do both.',
    [
      buttonLink('Import an image', href(['import']), { kind: 'primary' }),
      buttonLink('Connect an agent', href(['tools', 'setup'])),
    ],
  );
}

/** @type {Readonly<Record<DoctorCheck['status'], readonly [import('../kit/dom.js').IconName, string]>>} */
const MARKS = { ok: ['ok', 'fine'], warning: ['warning', 'warning'], failed: ['failed', 'failed'] };

/**
 * @param {WhoAmIResponse} who
 * @param {Scope} scope
 */
function doctorPanel({ permissions }, scope) {
  const body = h('div', { 'aria-live': 'polite' });
  /** @param {boolean} verify */
  const look = async (verify) => {
    fill(body, h('p', { class: 'muted' }, verify ? 'Reading the whole store…' : 'Looking at this host…'));
    try {
      const { version, checks } = await doctor(verify, scope.signal);
      const failed = checks.filter(({ status }) => status !== 'ok').length;
      const verdict =
        failed === 0 ? 'Everything that runs need is there.' : `${failed} of ${checks.length} checks need a look.`;
      fill(
        body,
        h('p', { class: 'muted' }, `${verdict} Version ${version}.`),
        h('ul', { class: 'checks' }, checks.map(checkItem)),
      );
    } catch (error) {
      if (!scope.signal.aborted)
        fill(
          body,
          problem(error, () => void look(verify)),
        );
    }
  };
  void look(false);
  const title = 'Reads every byte of the store and checks its digests';
  const verify =
    permissions['admin'] === true && button('Verify the store', () => void look(true), { kind: 'quiet', title });
  return panel('Doctor', [body], { actions: [verify] });
}

/** @param {DoctorCheck} check */
function checkItem({ name, status, detail, remedy }) {
  const [mark, word] = MARKS[status];
  return h(
    'li',
    { class: `check-item ${status}` },
    h('span', { class: 'check-mark' }, icon(mark), h('span', { class: 'for-ears' }, `${word}: `)),
    h(
      'div',
      null,
      h('strong', null, shown(name)),
      ' ',
      shown(detail),
      remedy !== undefined && h('p', { class: 'remedy' }, shown(remedy)),
    ),
  );
}

/** @param {WhoAmIResponse} who */
function limitsPanel({ limits, permissions, project, token_expiration: expires, token_uuid: uuid }) {
  const allowed = Object.entries(permissions).map(([name, may]) =>
    badge(name, may ? 'good' : 'neutral', may ? 'allowed' : 'not allowed'),
  );
  /** @type {[string, string][]} */
  const rows = Object.entries(limits).map(([name, value]) => [
    name.replaceAll('_', ' '),
    name.endsWith('timeout') ? duration(value) : name.endsWith('bytes') ? bytes(value) : count(value),
  ]);
  const anonymous = /^0[0-]*$/u.test(uuid);
  return panel('You and your limits', [
    facts([
      ['project', project],
      ['token', anonymous ? 'none asked for' : h('code', null, uuid)],
      ['expires', expires === null ? null : new Date(expires * 1000).toLocaleString()],
      ...rows,
    ]),
    h('p', { class: 'badges' }, allowed),
  ]);
}

/**
 * What uses space: for administrators all of it, for others what their own images have added.
 * @param {WhoAmIResponse} who
 * @param {Scope} scope
 */
function storePanel({ permissions }, scope) {
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

/**
 * @param {WhoAmIResponse} who
 * @param {Scope} scope
 */
function trafficPanel({ permissions }, scope) {
  if (permissions['metrics'] !== true && permissions['admin'] !== true) return null;
  const body = h('div');
  const look = async () => {
    const samples = parseMetrics(await metricsText(scope.signal));
    /** @param {string} name */
    const one = (name) => samples.find((sample) => sample.name === `contree_${name}`)?.value;
    const rows = routesOf(samples)
      .slice(0, 6)
      .map(({ route, count: asked, meanSeconds }) =>
        h(
          'tr',
          null,
          h('th', { scope: 'row' }, h('code', null, route)),
          h('td', { class: 'number-cell' }, count(asked)),
          h('td', { class: 'number-cell' }, duration(meanSeconds)),
        ),
      );
    const head = h(
      'tr',
      null,
      h('th', { scope: 'col' }, 'Asked most'),
      h('th', { scope: 'col' }, 'Times'),
      h('th', { scope: 'col' }, 'Mean'),
    );
    fill(
      body,
      facts([
        ['server is up', duration(one('process_uptime_seconds'))],
        ['memory of the server', bytes(one('process_resident_bytes'))],
        ['requests in flight', count(one('http_requests_in_flight') ?? 0)],
      ]),
      h('table', { class: 'plain-table' }, h('thead', null, head), h('tbody', null, rows)),
    );
  };
  const safely = () => look().catch((error) => void (scope.signal.aborted || fill(body, problem(error))));
  void safely();
  every(scope, REFRESH_MS, safely);
  return panel('Server', [body], { actions: [h('a', { href: 'metrics' }, 'Metrics')] });
}
