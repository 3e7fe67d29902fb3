import { openInstance } from '../../api/v1.js';
import { fill, h, icon } from '../../kit/dom.js';
import { count, short } from '../../kit/format.js';
import { announce, badge, button, panel } from '../../kit/parts.js';
import { go, href } from '../../kit/route.js';
import { cut, shown } from '../../kit/text.js';
import { Steps } from './steps.js';

/**
 * @import { Child } from '../../kit/dom.js'
 * @import { OperationEvent } from '../../../../src/contract/event.ts'
 * @import { Step } from './steps.js'
 */

/** Last lines of the output of a step that are in the page. */
const LINES_SHOWN = 500;
const LINE_CHARACTERS_MAX = 4_000;
const NOTES_SHOWN = 20;

/** Live steps of a build, each with its output. */
export class StepsPanel {
  #steps = new Steps();
  /** @type {Map<number, StepRow>} */
  #rows = new Map();
  /** @type {Set<Step>} */
  #changed = new Set();
  #scheduled = false;
  #list = h('ol', { class: 'build-steps' });
  #notes = h('div', { class: 'step-notes muted' });
  #waiting = h('p', { class: 'muted' }, 'Waiting for the first step…');

  /** @param {Child} connection shows whether events arrive */
  constructor(connection) {
    this.element = panel(['Steps ', connection], [this.#waiting, this.#list, this.#notes], { class: 'steps-panel' });
  }

  /** @param {OperationEvent} event */
  take(event) {
    for (const step of this.#steps.take(event)) this.#changed.add(step);
    if (this.#scheduled) return;
    this.#scheduled = true;
    requestAnimationFrame(() => {
      this.#scheduled = false;
      this.#draw();
    });
  }

  /** Says that no further step comes. */
  end() {
    fill(this.#waiting, 'No step was begun.');
  }

  #draw() {
    for (const step of this.#changed) {
      const row = this.#rows.get(step.number) ?? this.#add(step);
      row.draw();
    }
    this.#changed.clear();
    this.#waiting.hidden = this.#rows.size > 0;
    const notes = this.#steps.notes.slice(-NOTES_SHOWN);
    fill(
      this.#notes,
      notes.map((line) => h('p', null, shown(cut(line, LINE_CHARACTERS_MAX)))),
    );
  }

  /** @param {Step} step */
  #add(step) {
    const row = new StepRow(step);
    this.#rows.set(step.number, row);
    this.#list.append(row.element);
    return row;
  }
}

/** @type {Readonly<Record<Step['state'], readonly [string, 'busy' | 'good' | 'neutral' | 'bad']>>} */
const STATES = {
  running: ['running', 'busy'],
  done: ['done', 'good'],
  cached: ['cached', 'neutral'],
  failed: ['failed', 'bad'],
};

class StepRow {
  #step;
  #state = h('span', { class: 'step-state' });
  #image = h('span', { class: 'step-image' });
  #output = h('pre', { class: 'code step-output', tabindex: 0, role: 'group' });
  #actions = h('div', { class: 'actions' });
  #details;
  /** True once the user has opened or closed it. */
  #touched = false;

  /** @param {Step} step */
  constructor(step) {
    this.#step = step;
    this.#output.setAttribute('aria-label', `Output of step ${step.number}`);
    const instruction = h('code', { class: 'step-text' }, shown(cut(step.text, 400)));
    const head = h(
      'summary',
      { class: 'step-head', onclick: () => (this.#touched = true) },
      icon('chevron'),
      this.#state,
      h('span', { class: 'step-stage muted' }, shown(cut(step.stage, 40))),
      instruction,
    );
    const whole = step.text.includes(' ↵ ') ? h('pre', { class: 'code', tabindex: 0 }, wholeText(step.text)) : null;
    this.#details = h('details', { class: 'build-step' }, head, whole, this.#output, this.#actions);
    this.element = h('li', null, this.#details, this.#image);
    this.#details.addEventListener('toggle', () => this.#drawOutput());
  }

  draw() {
    const { state, took, image } = this.#step;
    const [label, tone] = STATES[state];
    fill(this.#state, badge(took === '' ? label : `${label} ${took}`, tone));
    const made = state === 'done' || state === 'cached';
    fill(
      this.#image,
      made && image && h('a', { href: href(['images', image]), title: image }, `image ${short(image)}`),
    );
    fill(this.#actions, state === 'failed' && image && this.#openButton(image));
    if (!this.#touched) this.#details.open = state === 'failed' || (state === 'running' && this.#hasOutput);
    this.#drawOutput();
  }

  get #hasOutput() {
    return this.#step.output.lines.length > 0;
  }

  /** @param {string} image */
  #openButton(image) {
    const open = async () => {
      const { uuid } = await openInstance({ image });
      go(href(['instances', uuid]));
    };
    const tell = (/** @type {unknown} */ reason) => announce(reason instanceof Error ? reason.message : String(reason));
    return [
      button('Open an instance before this step', () => void open().catch(tell), { kind: 'primary', icon: 'play' }),
      h('a', { class: 'button plain', href: href(['images', image]) }, 'Image before it'),
    ];
  }

  #drawOutput() {
    this.#output.hidden = !this.#hasOutput;
    if (!this.#details.open) return;
    const { lines } = this.#step.output;
    const left = lines.length - LINES_SHOWN;
    const atEnd = this.#output.scrollTop + this.#output.clientHeight >= this.#output.scrollHeight - 40;
    fill(
      this.#output,
      left > 0 && h('div', { class: 'output-line note' }, `${count(left)} lines before these`),
      lines
        .slice(-LINES_SHOWN)
        .map(({ stream, text }) =>
          h('div', { class: `output-line ${stream}` }, shown(cut(text, LINE_CHARACTERS_MAX), { lines: true })),
        ),
    );
    if (atEnd) this.#output.scrollTop = this.#output.scrollHeight;
  }
}

/** @param {string} text an instruction in one line, as the log has it */
function wholeText(text) {
  return shown(text.replaceAll(' ↵ ', '\n'), { lines: true });
}
