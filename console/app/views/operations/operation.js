import { follow } from '../../api/event-stream.js';
import { cancelOperation, getOperation } from '../../api/v1.js';
import { fill, h } from '../../kit/dom.js';
import { ask } from '../../kit/dialog.js';
import { moment } from '../../kit/format.js';
import { bytesOf } from '../../kit/output-log.js';
import {
  announce,
  badge,
  button,
  buttonLink,
  identifier,
  pageHead,
  panel,
  problem,
  statusBadge,
} from '../../kit/parts.js';
import { href } from '../../kit/route.js';
import { every, released } from '../../kit/scope.js';
import { cut, shown } from '../../kit/text.js';
import { details } from './operation-details.js';
import { StepsPanel } from '../builds/steps-panel.js';
import { Output } from './output.js';
import { Processes } from './processes.js';

/**
 * @import { Route } from '../../kit/route.js'
 * @import { Scope } from '../../kit/scope.js'
 * @import { OperationResponse } from '../../../../src/contract/operation.ts'
 * @import { OperationEvent } from '../../../../src/contract/event.ts'
 */

const REFRESH_MS = 1_500;
const SPID_MAIN = 1;
/** The output comes with the events. */
const WITHOUT_OUTPUT = { output_bytes: 0 };

/**
 * Shows one operation: its status, its output and its resource usage.
 * @param {Route} route
 * @param {Scope} scope
 */
export async function operation({ path }, scope) {
  const uuid = path[1] ?? '';
  let now = await getOperation(uuid, WITHOUT_OUTPUT, scope.signal);
  const head = h('div');
  const about = h('div');
  const connection = h('span', { role: 'status' });
  const output = new Output(uuid.slice(0, 8));
  const processes = new Processes();
  const build = isBuild(now) ? new StepsPanel(connection) : undefined;
  const draw = () => {
    fill(head, headOf(now, scope));
    fill(about, details(now));
    document.title = `${now.status.toLowerCase()}: ${now.subject ?? ''} · ConTree`;
  };
  const refresh = async () => {
    const before = now.status;
    now = await getOperation(uuid, WITHOUT_OUTPUT, scope.signal);
    await released();
    draw();
    if (before !== now.status)
      announce(
        isFinished(now) ? `Operation ended: ${now.status.toLowerCase()}.` : `Operation is ${now.status.toLowerCase()}.`,
      );
  };
  draw();
  every(scope, REFRESH_MS, async () => void (isFinished(now) || (await refresh())));
  const onEvent = (/** @type {OperationEvent} */ event) =>
    build === undefined ? take(event, output, processes) : build.take(event);
  const watch = async () => {
    const say = (/** @type {'live' | 'waiting'} */ state) =>
      fill(
        connection,
        isFinished(now) ? '' : badge(state === 'live' ? 'live' : 'reconnecting…', state === 'live' ? 'busy' : 'warn'),
      );
    try {
      for await (const event of follow(uuid, scope.signal, say)) onEvent(event);
      await refresh();
      build?.end();
      fill(connection);
      output.say(now.kind === 'instance' ? 'No output.' : 'Imports have no output.');
    } catch (error) {
      if (!scope.signal.aborted)
        fill(
          connection,
          problem(error, () => void watch()),
        );
    }
  };
  void watch();
  return h(
    'div',
    null,
    head,
    build?.element,
    now.kind === 'instance' && panel(['Output ', connection], [output.element], { class: 'output-panel' }),
    processes.element,
    about,
  );
}

/** @param {OperationResponse} operation */
function isBuild({ metadata }) {
  return 'build' in metadata && metadata.build !== undefined;
}

/**
 * Returns the reason of a failure. Of a build without the output of the failed step, which stands at the step.
 * @param {OperationResponse} operation
 * @param {string} error
 */
function reasonOf(operation, error) {
  return isBuild(operation) ? (error.split('\n', 1)[0] ?? '') : error;
}

/** @param {{ status: string }} operation */
function isFinished({ status }) {
  return status === 'SUCCESS' || status === 'FAILED' || status === 'CANCELLED';
}

/**
 * @param {OperationEvent} event
 * @param {Output} output
 * @param {Processes} processes
 */
function take(event, output, processes) {
  const { type, data, spid } = event;
  if (type === 'stdout' || type === 'stderr') {
    const chunk = bytesOf(data);
    if (spid === SPID_MAIN) output.add(type, chunk);
    else processes.output(spid ?? 0, type, chunk);
  } else if (type === 'truncated' && spid === SPID_MAIN) output.truncated(data);
  else if (type === 'spawn' && spid !== SPID_MAIN) processes.started(spid ?? 0, data);
  else if (type === 'exit' && spid !== SPID_MAIN) processes.ended(spid ?? 0, data);
}

/**
 * @param {OperationResponse} now
 * @param {Scope} scope
 */
function headOf(now, scope) {
  const { uuid, kind, subject = '', result_image_uuid: result, image_uuid: image, error } = now;
  const cancel = async () => {
    const what = h('p', null, 'Its output so far is kept; no image is created.');
    if (!(await ask('Cancel this operation?', [what], { confirm: 'Cancel operation', danger: true }))) return;
    await cancelOperation(uuid);
    scope.reload();
  };
  const tell = (/** @type {unknown} */ reason) => announce(reason instanceof Error ? reason.message : String(reason));
  const madeOne = result !== null && result !== image;
  const actions = [
    !isFinished(now) && button('Cancel…', () => void cancel().catch(tell), { kind: 'danger' }),
    result !== null && buttonLink(madeOne ? 'New image' : 'Image', href(['images', result]), { kind: 'primary' }),
    madeOne && image !== null && buttonLink('Show changes', href(['compare'], { from: image, to: result })),
    kind === 'instance' && buttonLink('Run again…', href(['run'], { again: uuid })),
  ];
  const title =
    kind === 'instance'
      ? h('code', { class: 'command-title' }, shown(cut(subject, 300)))
      : [
          isBuild(now) ? 'Build of ' : 'Import of ',
          h('code', null, shown(cut(subject.replace(/^dockerfile:/u, ''), 300))),
        ];
  return h(
    'div',
    null,
    pageHead(title, {
      crumbs: [['Operations', href(['operations'])]],
      about: [
        statusBadge(now),
        ' ',
        identifier(uuid),
        h('span', { class: 'muted' }, ` started ${moment(now.created_at)}`),
      ],
      actions,
    }),
    error !== null &&
      h(
        'div',
        { class: 'problem' },
        h('p', { class: 'problem-title' }, shown(cut(reasonOf(now, error), 4_000))),
        now.error_code && h('p', { class: 'muted' }, 'Code ', h('code', null, now.error_code)),
      ),
  );
}
