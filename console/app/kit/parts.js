import { fill, h, icon, setProp } from './dom.js';
import { cut, plain, shown } from './text.js';

/**
 * @import { Child, IconName } from './dom.js'
 * @typedef {'neutral' | 'good' | 'bad' | 'busy' | 'warn' | 'accent'} Tone
 */

/**
 * @param {Child | Child[]} text
 * @param {Tone} [tone]
 * @param {string} [title]
 */
export function badge(text, tone = 'neutral', title) {
  return h('span', { class: `badge ${tone}`, title }, text);
}

/** @type {Readonly<Record<string, Tone>>} */
const STATUS_TONES = { SUCCESS: 'good', FAILED: 'bad', CANCELLED: 'warn', EXECUTING: 'busy', ASSIGNED: 'busy' };

/**
 * Returns a badge with the status of an operation. A run succeeds when its command ends, so the badge also shows a
 * failing exit code.
 * @param {{ status: string, exit_code?: number | undefined }} operation
 */
export function statusBadge({ status, exit_code: code = 0 }) {
  if (status === 'SUCCESS' && code !== 0)
    return badge(code < 0 ? 'killed' : `exit ${code}`, 'warn', 'The command ended');
  return badge(status.toLowerCase(), STATUS_TONES[status] ?? 'neutral');
}

/**
 * Returns a bar that shows a share of a whole; the number is next to it.
 * @param {number} value
 * @param {number} whole
 */
export function bar(value, whole) {
  const fill = h('span');
  fill.style.width = `${whole > 0 ? Math.min(100, (100 * value) / whole) : 0}%`;
  return h('span', { class: 'bar', 'aria-hidden': 'true' }, fill);
}

/**
 * @param {Child | Child[]} label
 * @param {(event: MouseEvent) => void} onclick
 * @param {{ kind?: 'primary' | 'danger' | 'quiet' | 'plain', icon?: IconName, title?: string, disabled?: boolean }} [options]
 */
export function button(label, onclick, { kind = 'plain', icon: name, title, disabled } = {}) {
  const props = { type: 'button', class: `button ${kind}`, onclick, title, disabled };
  return h('button', props, name && icon(name), h('span', null, label));
}

/**
 * @param {string} label what it does, read aloud and shown on hover
 * @param {IconName} name
 * @param {(event: MouseEvent) => void} onclick
 */
export function iconButton(label, name, onclick) {
  return h('button', { type: 'button', class: 'icon-button', 'aria-label': label, title: label, onclick }, icon(name));
}

/**
 * Returns a link that looks like a button.
 * @param {Child | Child[]} label
 * @param {string} address
 * @param {{ kind?: 'primary' | 'quiet' | 'plain', icon?: IconName, title?: string }} [options]
 */
export function buttonLink(label, address, { kind = 'plain', icon: name, title } = {}) {
  return h('a', { class: `button ${kind}`, href: address, title }, name && icon(name), h('span', null, label));
}

/**
 * Returns a button that copies text, or null where the browser does not allow that (neither https nor loopback).
 * @param {() => string} text
 * @param {string} [label]
 */
export function copyButton(text, label = 'Copy') {
  if (!navigator.clipboard) return null;
  const copy = iconButton(label, 'copy', () => {
    void navigator.clipboard.writeText(text()).then(() => announce('Copied'));
  });
  return copy;
}

/**
 * Returns a full id that can be selected and copied.
 * @param {string} text
 */
export function identifier(text) {
  return h(
    'span',
    { class: 'identifier' },
    h('code', null, plain(text)),
    copyButton(() => text, 'Copy the id'),
  );
}

/**
 * Returns a code block with a copy button.
 * @param {string} text
 * @param {string} [label]
 * @param {{ wrapped?: boolean }} [options] true to wrap long lines
 */
export function codeBlock(text, label = 'Code', { wrapped = false } = {}) {
  const code = h(
    'pre',
    { class: wrapped ? 'code wrapped' : 'code', tabindex: 0, role: 'group', 'aria-label': label },
    shown(text, { lines: true }),
  );
  return h(
    'div',
    { class: 'code-block' },
    code,
    copyButton(() => text),
  );
}

/**
 * Returns a list of names and values; entries without a value are omitted.
 * @param {readonly (readonly [string, Child | Child[]])[]} entries
 */
export function facts(entries) {
  const told = entries.filter(([, value]) => value !== null && value !== undefined && value !== false && value !== '');
  return h(
    'dl',
    { class: 'facts' },
    told.flatMap(([name, value]) => [h('dt', null, name), h('dd', null, value)]),
  );
}

/**
 * @param {Child | Child[]} title
 * @param {readonly Child[]} children
 * @param {{ actions?: Child[], class?: string }} [options]
 */
export function panel(title, children, { actions = [], class: name = '' } = {}) {
  const head = h('header', { class: 'panel-head' }, h('h2', null, title), h('div', { class: 'actions' }, actions));
  return h('section', { class: `panel ${name}` }, head, children);
}

/**
 * Returns the head of a page. Its title takes the focus after a navigation.
 * @param {Child | Child[]} title
 * @param {{ crumbs?: readonly (readonly [string, string])[], about?: Child | Child[], actions?: Child[] }} [options]
 */
export function pageHead(title, { crumbs = [], about, actions = [] } = {}) {
  const trail = crumbs.map(([label, address]) => h('li', null, h('a', { href: address }, label)));
  return h(
    'header',
    { class: 'page-head' },
    h(
      'div',
      { class: 'page-title' },
      trail.length > 0 && h('nav', { 'aria-label': 'Breadcrumb' }, h('ol', { class: 'crumbs' }, trail)),
      h('h1', { tabindex: -1 }, title),
      about && h('div', { class: 'about' }, about),
    ),
    actions.length > 0 && h('div', { class: 'actions' }, actions),
  );
}

/**
 * Returns the placeholder for an empty view, with the next step.
 * @param {string} title
 * @param {Child | Child[]} next
 * @param {Child[]} [actions]
 */
export function empty(title, next, actions = []) {
  return h(
    'div',
    { class: 'empty' },
    h('p', { class: 'empty-title' }, title),
    h('p', null, next),
    actions.length > 0 && h('div', { class: 'actions' }, actions),
  );
}

/**
 * Returns a box with an error and the next step.
 * @param {unknown} error
 * @param {() => void} [retry]
 */
export function problem(error, retry) {
  const message = error instanceof Error ? error.message : String(error);
  const { hint = '', code = '' } = error instanceof Error && 'hint' in error ? /** @type {any} */ (error) : {};
  return h(
    'div',
    { class: 'problem', role: 'alert' },
    h('p', { class: 'problem-title' }, icon('warning'), shown(cut(message, 2_000))),
    hint !== '' && h('p', null, shown(hint)),
    code !== '' && h('p', { class: 'muted' }, 'Code ', h('code', null, shown(code))),
    retry && button('Try again', retry),
  );
}

/**
 * Returns a label with its control and hint, connected for assistive technology.
 * @param {string} label
 * @param {HTMLElement} control
 * @param {{ hint?: Child | Child[], required?: boolean }} [options]
 */
export function field(label, control, { hint, required } = {}) {
  control.id ||= `field-${nextId()}`;
  const note = hint ? h('p', { class: 'hint', id: `${control.id}-hint` }, hint) : null;
  if (note) setProp(control, 'aria-describedby', note.id);
  if (required) setProp(control, 'required', true);
  return h(
    'div',
    { class: 'field' },
    h('label', { for: control.id }, label, required && h('span', { class: 'required' }, ' required')),
    control,
    note,
  );
}

/**
 * @param {string} label
 * @param {boolean} checked
 * @param {{ hint?: string, onchange?: () => void }} [options]
 */
export function checkbox(label, checked, { hint, onchange } = {}) {
  const box = h('input', { type: 'checkbox', checked, onchange });
  const element = h(
    'label',
    { class: 'check' },
    box,
    h('span', null, label, hint && h('span', { class: 'hint' }, ` ${hint}`)),
  );
  return { box, element };
}

/**
 * @param {readonly (readonly [value: string, label: string])[]} options
 * @param {string} [value]
 * @param {import('./dom.js').Props} [props]
 */
export function select(options, value = '', props = {}) {
  return h(
    'select',
    props,
    options.map(([key, label]) => h('option', { value: key, selected: key === value }, label)),
  );
}

/**
 * Returns a table that scrolls sideways where the page is narrow.
 * @param {string} label
 * @param {readonly (readonly [name: string, look?: string])[]} columns `look` is a class
 * @param {readonly HTMLTableRowElement[]} rows
 */
export function table(label, columns, rows) {
  const head = columns.map(([name, look]) => h('th', { scope: 'col', class: look }, name));
  return h(
    'div',
    { class: 'table-place', tabindex: 0, role: 'group', 'aria-label': label },
    h('table', { class: 'table' }, h('thead', null, h('tr', null, head)), h('tbody', null, rows)),
  );
}

/**
 * Returns tabs: links to the views of one thing.
 * @param {string} label
 * @param {readonly (readonly [label: string, address: string, current: boolean])[]} links
 */
export function tabs(label, links) {
  const items = links.map(([text, address, current]) =>
    h('li', null, h('a', { href: address, 'aria-current': current && 'page' }, text)),
  );
  return h('nav', { class: 'tabs', 'aria-label': label }, h('ul', null, items));
}

let lastId = 0;

/** @returns {number} a new number at each call */
export function nextId() {
  lastId += 1;
  return lastId;
}

const live = h('div', { class: 'toast', role: 'status', 'aria-live': 'polite' });
let liveTimer = 0;

/** Returns the live region for announcements; it belongs in the page once. */
export function liveRegion() {
  return live;
}

/**
 * Shows a short message and announces it to assistive technology.
 * @param {string} text
 */
export function announce(text) {
  fill(live, h('span', null, shown(text)));
  window.clearTimeout(liveTimer);
  liveTimer = window.setTimeout(() => fill(live), 4_000);
}
