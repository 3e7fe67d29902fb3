import { h } from './dom.js';

/** Rows that are drawn beyond the visible part. */
const SPARE_ROWS = 12;
/** Largest height that browsers can lay out. */
const HEIGHT_PX_MAX = 8_000_000;

/**
 * List of rows of equal height; only the visible rows are in the document.
 * @template Row
 */
export class Rows {
  /** @type {readonly Row[]} */
  #rows = [];
  #first = -1;
  #last = -1;
  #scheduled = false;
  /** @type {(row: Row, index: number) => HTMLElement} */
  #draw;
  #rowPx;
  #spacer = h('div', { class: 'rows-spacer', role: 'presentation' });
  #window = h('div', { class: 'rows-window', role: 'presentation' });

  /**
   * @param {object} options
   * @param {number} options.rowPx
   * @param {(row: Row, index: number) => HTMLElement} options.draw
   * @param {import('./dom.js').Props} [options.props] of the element that scrolls
   */
  constructor({ rowPx, draw, props }) {
    this.#rowPx = rowPx;
    this.#draw = draw;
    this.element = h(
      'div',
      { tabindex: 0, ...props, class: `rows ${String(props?.['class'] ?? '')}` },
      this.#spacer,
      this.#window,
    );
    this.element.addEventListener('scroll', () => this.#schedule(), { passive: true });
    new ResizeObserver(() => this.#schedule()).observe(this.element);
  }

  get rows() {
    return this.#rows;
  }

  /** True when the end is visible, as when a log is being followed. */
  get atEnd() {
    const { scrollTop, clientHeight, scrollHeight } = this.element;
    return scrollTop + clientHeight >= scrollHeight - this.#rowPx * 2;
  }

  /** @param {readonly Row[]} rows */
  set(rows) {
    this.#rows = rows;
    this.#spacer.style.height = `${Math.min(rows.length * this.#rowPx, HEIGHT_PX_MAX)}px`;
    this.redraw();
  }

  redraw() {
    this.#first = -1;
    this.#paint();
  }

  scrollToEnd() {
    this.element.scrollTop = this.element.scrollHeight;
    this.#schedule();
  }

  /**
   * Scrolls a row into view and returns its element.
   * @param {number} index
   */
  reveal(index) {
    const { scrollTop, clientHeight } = this.element;
    const top = index * this.#rowPx * this.#scale();
    if (top < scrollTop) this.element.scrollTop = top;
    else if (top + this.#rowPx > scrollTop + clientHeight) this.element.scrollTop = top + this.#rowPx - clientHeight;
    this.#paint();
    return /** @type {HTMLElement | undefined} */ (this.#window.children[index - this.#first]);
  }

  /** Pixels of the scroll bar per pixel of rows; below one when there are too many rows. */
  #scale() {
    const whole = this.#rows.length * this.#rowPx;
    return whole <= HEIGHT_PX_MAX ? 1 : HEIGHT_PX_MAX / whole;
  }

  #schedule() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    requestAnimationFrame(() => {
      this.#scheduled = false;
      this.#paint();
    });
  }

  #paint() {
    const { scrollTop, clientHeight } = this.element;
    const scale = this.#scale();
    const seen = Math.floor(scrollTop / scale / this.#rowPx);
    const first = Math.max(0, Math.min(seen, this.#rows.length) - SPARE_ROWS);
    const last = Math.min(this.#rows.length, seen + Math.ceil((clientHeight || 600) / this.#rowPx) + SPARE_ROWS);
    if (first === this.#first && last === this.#last) return;
    const hadFocus = this.#window.contains(document.activeElement);
    this.#window.style.transform = `translateY(${first * this.#rowPx * scale}px)`;
    if (this.#first === -1 || first >= this.#last || last <= this.#first) {
      this.#window.replaceChildren(...this.#drawn(first, last));
    } else this.#shift(first, last);
    [this.#first, this.#last] = [first, last];
    // Removing a focused row from the document must not move the keyboard focus to the top of the page.
    if (hadFocus && !this.element.contains(document.activeElement)) this.element.focus({ preventScroll: true });
  }

  /**
   * Changes only the rows that appear or disappear at both ends: a row that is being pressed must stay in place, or its
   * link is not followed.
   * @param {number} first
   * @param {number} last
   */
  #shift(first, last) {
    for (let at = this.#first; at < first; at += 1) this.#window.firstChild?.remove();
    for (let at = this.#last; at > last; at -= 1) this.#window.lastChild?.remove();
    this.#window.prepend(...this.#drawn(first, Math.max(first, this.#first)));
    this.#window.append(...this.#drawn(Math.min(last, this.#last), last));
  }

  /**
   * @param {number} first
   * @param {number} last
   */
  #drawn(first, last) {
    return this.#rows.slice(first, last).map((row, index) => this.#draw(row, first + index));
  }
}
