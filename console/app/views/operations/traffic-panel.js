import { parseMetrics, routesOf } from '../../api/metrics.js';
import { token } from '../../api/session.js';
import { metricsText } from '../../api/v1.js';
import { fill, h } from '../../kit/dom.js';
import { bytes, count, duration } from '../../kit/format.js';
import { facts, panel, problem } from '../../kit/parts.js';
import { every } from '../../kit/scope.js';

/**
 * @import { Scope } from '../../kit/scope.js'
 * @import { WhoAmIResponse } from '../../../../src/contract/server.ts'
 */

const REFRESH_MS = 4_000;

/**
 * Returns the panel with the server's metrics, or null without the permission to read them.
 * @param {WhoAmIResponse} who
 * @param {Scope} scope
 */
export function trafficPanel({ permissions }, scope) {
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
      h('th', { scope: 'col' }, 'Busiest routes'),
      h('th', { scope: 'col' }, 'Requests'),
      h('th', { scope: 'col' }, 'Mean'),
    );
    fill(
      body,
      facts([
        ['uptime', duration(one('process_uptime_seconds'))],
        ['server memory', bytes(one('process_resident_bytes'))],
        ['requests in flight', count(one('http_requests_in_flight') ?? 0)],
      ]),
      h('table', { class: 'plain-table' }, h('thead', null, head), h('tbody', null, rows)),
    );
  };
  const safely = () => look().catch((error) => void (scope.signal.aborted || fill(body, problem(error))));
  void safely();
  every(scope, REFRESH_MS, safely);
  return panel('Server', [body], { actions: [token() === '' && h('a', { href: 'metrics' }, 'Metrics')] });
}
