import { fill, h } from '../../kit/dom.js';
import { duration } from '../../kit/format.js';
import { OutputLog } from '../../kit/output-log.js';
import { badge } from '../../kit/parts.js';
import { cut, shown } from '../../kit/text.js';

/**
 * @import { Stream } from '../../kit/output-log.js'
 * @import { EventData } from '../../../../src/contract/event.ts'
 */

/** Lines shown of each process; the page is about the run's own output. */
const LINES_SHOWN = 20;

/** Panel of the processes started in addition to the main one, each with the end of its output. */
export class Processes {
  element = h(
    'section',
    { class: 'panel', hidden: true },
    h('header', { class: 'panel-head' }, h('h2', null, 'Other processes')),
  );
  /** @type {Map<number, { log: OutputLog, head: HTMLElement, text: HTMLElement }>} */
  #known = new Map();

  /**
   * @param {number} spid
   * @param {EventData<'spawn'>} data
   */
  started(spid, { command, args }) {
    const head = h('span', null, badge('running', 'busy'));
    const text = h('pre', { class: 'code', tabindex: 0, role: 'group', 'aria-label': `Output of process ${spid}` });
    this.#known.set(spid, { log: new OutputLog(), head, text });
    const name = h('code', { class: 'grow ellipsis' }, shown(cut([command, ...args].join(' '), 300)));
    this.element.append(
      h('details', { class: 'change' }, h('summary', { class: 'change-head' }, badge(`#${spid}`), name, head), text),
    );
    this.element.hidden = false;
  }

  /**
   * @param {number} spid
   * @param {Stream} stream
   * @param {Uint8Array<ArrayBuffer>} chunk
   */
  output(spid, stream, chunk) {
    const process = this.#known.get(spid);
    if (!process) return;
    process.log.add(stream, chunk);
    const lines = process.log.lines.slice(-LINES_SHOWN).map(({ text }) => cut(text, 1_000));
    fill(process.text, shown(lines.join('\n'), { lines: true }));
  }

  /**
   * @param {number} spid
   * @param {EventData<'exit'>} data
   */
  ended(spid, { code, signal, duration_ms: ms }) {
    const how = signal > 0 ? badge(`signal ${signal}`, 'warn') : badge(`exit ${code}`, code === 0 ? 'good' : 'warn');
    const process = this.#known.get(spid);
    if (process) fill(process.head, how, h('span', { class: 'muted' }, ` ${duration(ms / 1000)}`));
  }
}
