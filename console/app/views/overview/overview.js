import { token } from '../../api/session.js';
import { listImages, listOperations, whoami } from '../../api/v1.js';
import { fill, h } from '../../kit/dom.js';
import { age, bytes, count, duration } from '../../kit/format.js';
import { badge, buttonLink, empty, facts, pageHead, panel, statusBadge } from '../../kit/parts.js';
import { href } from '../../kit/route.js';
import { every, released } from '../../kit/scope.js';
import { cut, shown } from '../../kit/text.js';
import { doctorPanel } from './doctor-panel.js';
import { IMAGES_COUNTED, storePanel } from './store-panel.js';
import { trafficPanel } from '../operations/traffic-panel.js';

/**
 * @import { Route } from '../../kit/route.js'
 * @import { Scope } from '../../kit/scope.js'
 * @import { OperationSummary } from '../../../../src/contract/operation.ts'
 * @import { WhoAmIResponse } from '../../../../src/contract/server.ts'
 */

const REFRESH_MS = 4_000;

/**
 * @param {Route} _route
 * @param {Scope} scope
 */
export async function overview(_route, scope) {
  const who = await whoami(scope.signal);
  const numbers = h('div', { class: 'numbers' });
  const recent = h('div');
  let images = 0;
  let counted = '';
  const refresh = async () => {
    const [now, latest] = await Promise.all([whoami(scope.signal), listOperations({ limit: 6 }, scope.signal)]);
    const stat = JSON.stringify(now.operations_stat);
    // Images come from operations, so the count changes only when one has ended.
    if (stat !== counted) images = (await listImages({ limit: IMAGES_COUNTED }, scope.signal)).length;
    counted = stat;
    await released();
    fill(numbers, numberCards(now, images));
    fill(recent, latest.length > 0 ? latest.map(operationLine) : firstSteps());
  };
  await refresh();
  every(scope, REFRESH_MS, refresh);
  const actions = [buttonLink('Run a command', href(['run']), { kind: 'primary', icon: 'play' })];
  return h(
    'div',
    null,
    pageHead('Overview', { about: 'Root inside isolated sandboxes, on your own machine.', actions }),
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
      'running',
      href(['operations'], { status: 'EXECUTING' }),
    ],
    [count(stat['PENDING'] ?? 0), 'queued', href(['operations'], { status: 'PENDING' })],
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
    'Import an image and run a command in it, or connect your agent and let it do both.',
    [
      buttonLink('Import an image', href(['import']), { kind: 'primary' }),
      buttonLink('Connect an agent', href(['tools', 'setup'])),
    ],
  );
}

/**
 * @param {string} name
 * @param {number} value
 */
function formatLimit(name, value) {
  if (name.endsWith('timeout')) return duration(value);
  return name.endsWith('bytes') ? bytes(value) : count(value);
}

/** @param {WhoAmIResponse} who */
function limitsPanel({ limits, permissions, project, token_expiration: expires, token_uuid: uuid }) {
  const allowed = Object.entries(permissions).map(([name, may]) =>
    badge(name, may ? 'good' : 'neutral', may ? 'allowed' : 'not allowed'),
  );
  /** @type {[string, string][]} */
  const rows = Object.entries(limits).map(([name, value]) => [name.replaceAll('_', ' '), formatLimit(name, value)]);
  // A server's own token is not one of the engine's and has no UUID.
  const named = !/^0[0-]*$/u.test(uuid);
  const unnamed = token() === '' ? 'not required' : 'accepted by this server';
  return panel('Permissions and limits', [
    facts([
      ['project', project],
      ['token', named ? h('code', null, uuid) : unnamed],
      ['expires', expires === null ? null : new Date(expires * 1000).toLocaleString()],
      ...rows,
    ]),
    h('p', { class: 'badges' }, allowed),
  ]);
}
