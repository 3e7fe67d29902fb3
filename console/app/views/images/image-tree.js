import { h, icon } from '../../kit/dom.js';
import { age, bytes, moment, short } from '../../kit/format.js';
import { badge } from '../../kit/parts.js';
import { go, href } from '../../kit/route.js';
import { Rows } from '../../kit/rows.js';
import { cut, shown } from '../../kit/text.js';

/**
 * @import { Image } from '../../../../src/contract/image.ts'
 * @import { TreeRow } from './image-forest.js'
 */

const ROW_PX = 36;
/** Deepest level that is indented: a chain of runs may be hundreds long. */
const INDENT_DEPTH_MAX = 14;
const INDENT_PX = 18;
const TAGS_SHOWN = 3;

/**
 * Tree of images for mouse and keyboard (WAI-ARIA tree pattern): arrow keys move, open and close; Enter shows the
 * image; Space selects it for a comparison.
 */
export class ImageTree {
  /** @type {readonly TreeRow[]} */
  #rows = [];
  /** Index of the row with the keyboard focus. */
  #at = 0;
  /** @type {Map<string, Image>} in the order of selection, two at most */
  #chosen = new Map();
  /** UUIDs of images whose children are hidden. @type {Set<string>} */
  closed = new Set();
  #onToggle;
  #onSelect;
  #list;

  /** @param {{ onToggle: () => void, onSelect: (chosen: readonly Image[]) => void }} options */
  constructor({ onToggle, onSelect }) {
    this.#onToggle = onToggle;
    this.#onSelect = onSelect;
    const props = {
      role: 'tree',
      class: 'tree narrow',
      'aria-label': 'Images by lineage',
      'aria-multiselectable': 'true',
      onkeydown: (/** @type {KeyboardEvent} */ event) => this.#key(event),
      onfocus: () => this.#mark(),
    };
    this.#list = new Rows({
      rowPx: ROW_PX,
      draw: (/** @type {TreeRow} */ row, index) => this.#draw(row, index),
      props,
    });
    this.element = this.#list.element;
  }

  /** @param {readonly TreeRow[]} rows */
  show(rows) {
    const current = this.#rows[this.#at]?.image.uuid;
    this.#rows = rows;
    this.#at = Math.max(
      0,
      rows.findIndex(({ image }) => image.uuid === current),
    );
    this.#list.set(rows);
    this.#mark();
  }

  clearSelection() {
    this.#chosen.clear();
    this.#list.redraw();
    this.#onSelect([]);
  }

  /** @param {Image} image */
  #select(image) {
    if (!this.#chosen.delete(image.uuid)) this.#chosen.set(image.uuid, image);
    const [oldest] = this.#chosen.keys();
    if (this.#chosen.size > 2 && oldest) this.#chosen.delete(oldest);
    this.#list.redraw();
    this.#mark();
    this.#onSelect([...this.#chosen.values()]);
  }

  /**
   * @param {string} uuid
   * @param {boolean} open
   */
  #toggle(uuid, open) {
    if (open) this.closed.delete(uuid);
    else this.closed.add(uuid);
    this.#onToggle();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const row = this.#rows[this.#at];
    if (!row || event.target !== this.element) return;
    const { uuid } = row.image;
    /** @type {Record<string, () => void>} */
    const keys = {
      ArrowDown: () => this.#move(this.#at + 1),
      ArrowUp: () => this.#move(this.#at - 1),
      Home: () => this.#move(0),
      End: () => this.#move(this.#rows.length - 1),
      PageDown: () => this.#move(this.#at + 10),
      PageUp: () => this.#move(this.#at - 10),
      ArrowRight: () => (row.children > 0 && !row.open ? this.#toggle(uuid, true) : this.#move(this.#at + 1)),
      ArrowLeft: () => (row.children > 0 && row.open ? this.#toggle(uuid, false) : this.#toParent()),
      Enter: () => go(href(['images', uuid])),
      ' ': () => this.#select(row.image),
    };
    const action = keys[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }

  #toParent() {
    const depth = this.#rows[this.#at]?.depth ?? 0;
    const parent = this.#rows.findLastIndex((row, index) => index < this.#at && row.depth < depth);
    if (parent !== -1) this.#move(parent);
  }

  /** @param {number} index */
  #move(index) {
    this.#at = Math.max(0, Math.min(index, this.#rows.length - 1));
    this.#list.reveal(this.#at);
    this.#mark();
  }

  /** Marks the row with the keyboard focus and notifies assistive technology. */
  #mark() {
    for (const element of this.element.querySelectorAll('.at')) element.classList.remove('at');
    const id = `tree-${this.#rows[this.#at]?.image.uuid}`;
    const element = document.getElementById(id);
    element?.classList.add('at');
    if (element) this.element.setAttribute('aria-activedescendant', id);
    else this.element.removeAttribute('aria-activedescendant');
  }

  /**
   * @param {TreeRow} row
   * @param {number} index
   */
  #draw({ image, depth, position, siblings, children, open }, index) {
    const { uuid, tags = [], command, exit_code: code, layer_bytes: added, created_at: created } = image;
    const selected = this.#chosen.has(uuid);
    const indent = h('span', { class: 'indent' }, depth > INDENT_DEPTH_MAX && `${depth}`);
    indent.style.width = `${Math.min(depth, INDENT_DEPTH_MAX) * INDENT_PX}px`;
    const toggle = h(
      'span',
      {
        class: `toggle ${open ? 'open' : ''}`,
        'aria-hidden': 'true',
        onclick: () => children > 0 && this.#toggle(uuid, !open),
      },
      children > 0 && icon('chevron'),
    );
    const names = tags.slice(0, TAGS_SHOWN).map((tag) => badge(shown(tag), 'accent'));
    const more = tags.length > TAGS_SHOWN && badge(`+${tags.length - TAGS_SHOWN}`);
    const tick = h('span', {
      class: 'tick',
      title: 'Select to compare',
      'aria-hidden': 'true',
      onclick: () => this.#pick(index, image),
    });
    const how =
      command === 'import' && !image.parent_uuid
        ? h('span', { class: 'muted' }, 'imported')
        : h('code', null, shown(cut(command ?? '', 200)));
    return h(
      'div',
      {
        role: 'treeitem',
        class: `tree-row ${index === this.#at ? 'at' : ''}`,
        id: `tree-${uuid}`,
        'aria-level': depth + 1,
        'aria-posinset': position,
        'aria-setsize': siblings,
        'aria-expanded': children > 0 ? String(open) : undefined,
        'aria-selected': String(selected),
      },
      indent,
      toggle,
      tick,
      h(
        'a',
        { class: 'tree-name', href: href(['images', uuid]), tabindex: -1 },
        names.length > 0 ? [...names, more] : h('code', null, short(uuid)),
      ),
      h('span', { class: 'grow ellipsis how' }, how),
      code !== null && code !== undefined && code !== 0 && badge(`exit ${code}`, 'warn'),
      h('span', { class: 'muted nowrap tree-size' }, added === null || added === undefined ? '' : `+${bytes(added)}`),
      h('span', { class: 'muted nowrap tree-age', title: moment(created) }, age(created)),
    );
  }

  /**
   * @param {number} index
   * @param {Image} image
   */
  #pick(index, image) {
    this.#at = index;
    this.#select(image);
  }
}
