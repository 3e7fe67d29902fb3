import { saveBlob } from '../../api/download.js';
import { fill, h } from '../../kit/dom.js';
import { bytes, count } from '../../kit/format.js';
import { OutputLog } from '../../kit/output-log.js';
import { button, checkbox, select } from '../../kit/parts.js';
import { Rows } from '../../kit/rows.js';
import { cut, shown } from '../../kit/text.js';

/**
 * @import { OutputLine, Stream } from '../../kit/output-log.js'
 * @import { EventData } from '../../../../src/contract/event.ts'
 */

const ROW_PX = 20;
const LINE_CHARACTERS_MAX = 4_000;

/** Live output of a run, of one stream or both. It follows the end until the user scrolls up. */
export class Output {
  #log = new OutputLog();
  #choice = select(
    [
      ['', 'Both streams'],
      ['stdout', 'stdout'],
      ['stderr', 'stderr'],
    ],
    '',
    { 'aria-label': 'Stream' },
  );
  #follow = checkbox('Follow', true);
  #rows;
  #sizes = h('p', { class: 'muted' });
  #empty = h('p', { class: 'output-empty' });
  #saves = h('div', { class: 'actions' });
  #scheduled = false;
  #name;

  /** @param {string} name for the files that it is saved as */
  constructor(name) {
    this.#name = name;
    const props = { role: 'log', 'aria-live': 'off', class: 'output', 'aria-label': 'Output of the run' };
    this.#rows = new Rows({ rowPx: ROW_PX, draw: drawLine, props });
    this.#choice.addEventListener('change', () => this.#draw());
    this.#follow.box.addEventListener('change', () => this.#draw());
    this.#rows.element.addEventListener('wheel', () => this.#unfollow(), { passive: true });
    this.#rows.element.addEventListener('keydown', () => this.#unfollow());
    const bar = h('div', { class: 'toolbar' }, this.#choice, this.#follow.element, this.#sizes, this.#saves);
    this.element = h('div', { class: 'output-place' }, bar, this.#empty, this.#rows.element);
    this.say('Waiting for output…');
  }

  /**
   * @param {Stream} stream
   * @param {Uint8Array<ArrayBuffer>} chunk
   */
  add(stream, chunk) {
    this.#log.add(stream, chunk);
    this.#schedule();
  }

  /**
   * Marks a gap: of long output only the beginning and the end are kept.
   * @param {EventData<'truncated'>} data
   */
  truncated({ stream, bytes_emitted: emitted, bytes_dropped: dropped, bytes_kept: kept = emitted }) {
    const total = emitted + dropped;
    if (kept >= total) return;
    this.#log.gap(
      stream,
      `of ${count(total)} bytes of ${stream}, only the first ${count(kept)} and the last ones were kept`,
    );
    this.#schedule();
  }

  #schedule() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    requestAnimationFrame(() => {
      this.#scheduled = false;
      this.#draw();
    });
  }

  /**
   * Sets the text that is shown while there is no output.
   * @param {string} text
   */
  say(text) {
    fill(this.#empty, text);
    this.#draw();
  }

  /** Stops following when the user scrolls up, so that the next line does not move the text away. */
  #unfollow() {
    setTimeout(() => {
      if (!this.#rows.atEnd) this.#follow.box.checked = false;
    }, 50);
  }

  #draw() {
    const stream = this.#choice.value;
    const lines = stream === '' ? this.#log.lines : this.#log.lines.filter((line) => line.stream === stream);
    this.#empty.hidden = lines.length > 0;
    this.#rows.element.hidden = lines.length === 0;
    this.#rows.set(lines);
    if (this.#follow.box.checked) this.#rows.scrollToEnd();
    const sizes = `stdout ${bytes(this.#log.size('stdout'))}, stderr ${bytes(this.#log.size('stderr'))}`;
    const dropped =
      this.#log.dropped > 0 ? `; the first ${count(this.#log.dropped)} lines are only in the saved files` : '';
    fill(this.#sizes, sizes + dropped);
    fill(this.#saves, this.#save('stdout'), this.#save('stderr'));
  }

  /** @param {Stream} stream */
  #save(stream) {
    if (this.#log.size(stream) === 0) return null;
    return button(stream, () => saveBlob(this.#log.blob(stream), `${this.#name}.${stream}.txt`), {
      icon: 'download',
      title: `Save ${stream}`,
    });
  }
}

/** @param {OutputLine} line */
function drawLine({ stream, text, note }) {
  const content = shown(cut(text, LINE_CHARACTERS_MAX), { lines: true });
  return h('div', { class: note ? 'output-line note' : `output-line ${stream}` }, content);
}
