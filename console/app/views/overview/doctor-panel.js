import { doctor } from '../../api/v1.js';
import { fill, h, icon } from '../../kit/dom.js';
import { button, panel, problem } from '../../kit/parts.js';
import { shown } from '../../kit/text.js';

/**
 * @import { IconName } from '../../kit/dom.js'
 * @import { Scope } from '../../kit/scope.js'
 * @import { DoctorCheck, WhoAmIResponse } from '../../../../src/contract/server.ts'
 */

/** @type {Readonly<Record<DoctorCheck['status'], readonly [IconName, string]>>} */
const MARKS = { ok: ['ok', 'ok'], warning: ['warning', 'warning'], failed: ['failed', 'failed'] };

/**
 * Returns the panel about what the host offers and lacks, with remedies.
 * @param {WhoAmIResponse} who
 * @param {Scope} scope
 */
export function doctorPanel({ permissions }, scope) {
  const body = h('div', { 'aria-live': 'polite' });
  /** @param {boolean} verify */
  const look = async (verify) => {
    fill(body, h('p', { class: 'muted' }, verify ? 'Reading the whole store…' : 'Checking this host…'));
    try {
      const { version, checks } = await doctor({ verify }, scope.signal);
      const failed = checks.filter(({ status }) => status !== 'ok').length;
      const verdict =
        failed === 0
          ? 'This host has everything that runs need.'
          : `${failed} of ${checks.length} checks need attention.`;
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
  const title = 'Reads the whole store and verifies its digests';
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
