import { closeInstance, getInstance, killProcess, openInstance, snapshotInstance } from '../../api/v1.js';
import { fill, h } from '../../kit/dom.js';
import { ask, askText } from '../../kit/dialog.js';
import { age, moment, short } from '../../kit/format.js';
import {
  announce,
  badge,
  button,
  buttonLink,
  checkbox,
  facts,
  identifier,
  pageHead,
  panel,
  statusBadge,
  table,
} from '../../kit/parts.js';
import { go, href } from '../../kit/route.js';
import { every, released } from '../../kit/scope.js';
import { cut, shown } from '../../kit/text.js';
import { Ports } from './ports.js';
import { TerminalPanel } from './terminal-panel.js';

/**
 * @import { Route } from '../../kit/route.js'
 * @import { Scope } from '../../kit/scope.js'
 * @typedef {() => Promise<void>} Refresh reads the instance again and draws what has changed; the terminal stays
 * @import { InstanceDetails, InstanceProcess } from '../../../../src/contract/instance.ts'
 */

const REFRESH_MS = 1_500;

/**
 * Shows one instance: a terminal on it, its processes, its ports, and the images that were made of it.
 * @param {Route} route
 * @param {Scope} scope
 */
export async function instance({ path }, scope) {
  const uuid = path[1] ?? '';
  let now = await getInstance(uuid, scope.signal);
  const [head, about, processes] = [h('div'), h('div'), h('div')];
  const terminal = new TerminalPanel(uuid, scope);
  const refresh = async () => {
    now = await getInstance(uuid, scope.signal);
    await released();
    draw();
  };
  const ports = new Ports(uuid, refresh);
  const draw = () => {
    fill(head, headOf(now, refresh));
    fill(about, panel('About', [aboutOf(now)]));
    fill(processes, panel('Processes', [processTable(now, terminal)]));
    ports.draw(now);
    ports.element.hidden = !isOpen(now);
    terminal.element.hidden = now.processes.length === 0 && !isOpen(now);
  };
  draw();
  every(scope, REFRESH_MS, async () => {
    if (!hasEnded(now)) await refresh();
  });
  document.title = `Instance ${short(uuid)} · ConTree`;
  return h('div', null, head, terminal.element, processes, ports.element, about);
}

/** @param {InstanceDetails} instance */
function isOpen({ status }) {
  return status === 'EXECUTING';
}

/** @param {InstanceDetails} instance */
function hasEnded({ status }) {
  return status === 'SUCCESS' || status === 'FAILED' || status === 'CANCELLED';
}

/**
 * @param {InstanceDetails} now
 * @param {Refresh} refresh
 */
function headOf(now, refresh) {
  const { uuid, created_at: created, last_snapshot: last } = now;
  const tell = (/** @type {unknown} */ reason) => announce(reason instanceof Error ? reason.message : String(reason));
  const act = (/** @type {() => Promise<void>} */ work) => () => void work().catch(tell);
  const actions = isOpen(now)
    ? [
        button(
          'Snapshot…',
          act(() => snapshot(uuid, refresh)),
          { kind: 'primary' },
        ),
        button(
          'Branch',
          act(() => branch(uuid)),
          { title: 'Open another instance of an image of its present state' },
        ),
        button(
          'Close…',
          act(() => close(now, refresh)),
          { kind: 'danger' },
        ),
      ]
    : [buttonLink('Operation', href(['operations', uuid]))];
  return pageHead(['Instance ', h('code', null, short(uuid))], {
    crumbs: [['Instances', href(['instances'])]],
    about: [
      statusBadge(now),
      ' ',
      identifier(uuid),
      h('span', { class: 'muted' }, ` opened ${moment(created)}`),
      last !== null && [' ', h('a', { href: href(['images', last]) }, 'last image')],
    ].flat(),
    actions,
  });
}

/**
 * @param {string} uuid
 * @param {Refresh} refresh
 */
async function snapshot(uuid, refresh) {
  const tag = await askText('Make an image of its present state?', 'Tag', {
    confirm: 'Make an image',
    hint: 'Its processes stop for a moment and go on. Leave it empty for no tag.',
    optional: true,
  });
  if (tag === undefined) return;
  const { image, changed } = await snapshotInstance(uuid, tag === '' ? {} : { tag });
  announce(changed ? `Image ${short(image)} was made.` : 'Nothing has changed since the last image.');
  await refresh();
}

/** @param {string} uuid */
async function branch(uuid) {
  const { image } = await snapshotInstance(uuid, {});
  const { uuid: other } = await openInstance({ image });
  announce(`Opened an instance of image ${short(image)}.`);
  go(href(['instances', other]));
}

/**
 * @param {InstanceDetails} now
 * @param {Refresh} refresh
 */
async function close({ uuid, disposable }, refresh) {
  const keep = checkbox('Keep its changes as an image', !disposable);
  const body = [h('p', null, 'Its processes are killed.'), keep.element];
  if (!(await ask('Close this instance?', body, { confirm: 'Close', danger: true }))) return;
  await closeInstance(uuid, { keep: keep.box.checked });
  await refresh();
}

/** @param {InstanceDetails} now */
function aboutOf({
  image,
  sandbox,
  snapshots,
  last_snapshot: last,
  last_used_at: used,
  idle_at: idle,
  ends_at: ends,
  disposable,
}) {
  return facts([
    ['Image', h('a', { href: href(['images', image]) }, h('code', null, short(image)))],
    ['Images made of it', snapshots],
    ['Last of them', last !== null && h('a', { href: href(['images', last]) }, h('code', null, short(last)))],
    ['Changes', disposable ? 'are discarded when it ends' : 'become an image when it ends'],
    ['Sandbox', sandbox],
    ['Last used', age(used)],
    ['Ends without use', idle !== null && moment(idle)],
    ['Ends in any case', ends !== null && moment(ends)],
  ]);
}

/**
 * @param {InstanceDetails} now
 * @param {TerminalPanel} terminal
 */
function processTable(now, terminal) {
  const { processes } = now;
  if (processes.length === 0) return h('p', { class: 'muted' }, 'No command was started yet.');
  return table(
    'Processes',
    [['Number', 'number-cell'], ['Command'], ['State'], ['Started'], ['']],
    processes.toReversed().map((process) => processRow(now, process, terminal)),
  );
}

/**
 * @param {InstanceDetails} now
 * @param {InstanceProcess} process
 * @param {TerminalPanel} terminal
 */
function processRow(now, { spid, pid, command, started_at: started, exit_code: code }, terminal) {
  const runs = code === undefined && isOpen(now);
  const kill = () =>
    void killProcess(now.uuid, spid, {}).catch((/** @type {Error} */ error) => announce(error.message));
  return h(
    'tr',
    null,
    h('td', { class: 'number-cell', title: `pid ${pid}` }, spid),
    h('td', { class: 'wrap' }, h('code', null, shown(cut(command, 200)))),
    h('td', null, runs ? badge('running', 'busy') : exitBadge(code)),
    h('td', { title: moment(started) }, age(started)),
    h(
      'td',
      { class: 'nowrap' },
      button('Show', () => void terminal.attach(spid), {
        kind: 'quiet',
        title: `Show process ${spid} in the terminal`,
      }),
      runs && button('Kill', kill, { kind: 'quiet', title: `Kill process ${spid}` }),
    ),
  );
}

/** @param {number | undefined} code */
function exitBadge(code) {
  if (code === undefined) return badge('ended');
  return code < 0 ? badge('killed', 'warn') : badge(`exit ${code}`, code === 0 ? 'good' : 'warn');
}
