/**
 * Content of an element. A string always becomes a text node, so nothing that a guest wrote can become markup;
 * `shown()` in text.js also makes its invisible characters visible.
 * @typedef {Node | string | number | null | undefined | false} Child
 */

/**
 * Attributes and listeners: `class`, `aria-label`, `onclick` … True sets an empty attribute, false and undefined none.
 * @typedef {Record<string, string | number | boolean | undefined | null | ((event: any) => void)>} Props
 */

/**
 * Creates an element.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Props | null} [props]
 * @param {...(Child | readonly Child[])} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function h(tag, props, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) setProp(element, name, value);
  append(element, children);
  return element;
}

/**
 * @param {Element} element
 * @param {string} name
 * @param {Props[string]} value
 */
export function setProp(element, name, value) {
  if (typeof value === 'function') {
    element.addEventListener(name.slice(2), value);
    return;
  }
  if (value === undefined || value === null || value === false) element.removeAttribute(name);
  else element.setAttribute(name, value === true ? '' : String(value));
}

/**
 * @param {Node} parent
 * @param {readonly (Child | readonly Child[])[]} children
 */
export function append(parent, children) {
  for (const child of children.flat()) {
    if (child === null || child === undefined || child === false) continue;
    parent.appendChild(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

/**
 * Replaces the children of an element.
 * @param {Element} parent
 * @param {...(Child | readonly Child[])} children
 */
export function fill(parent, ...children) {
  const fresh = document.createDocumentFragment();
  append(fresh, children);
  parent.replaceChildren(fresh);
}

const SVG = 'http://www.w3.org/2000/svg';

/** Outlines on a 16 × 16 grid. */
const ICONS = {
  overview: 'M2.5 8.5 8 3l5.5 5.5M4 7.5V13h8V7.5',
  tools: 'M3 4.5h10M3 8h10M3 11.5h6',
  images: 'M4 3v10M4 6h5a2 2 0 0 1 2 2v2M4 3.1v0M11 12.9v0',
  operations: 'M3 3.5l4 4.5-4 4.5M8.5 12.5H13',
  instances: 'M2.5 3.5h11v9h-11zM4.5 6l2 2-2 2M8 10h3',
  theme: 'M8 2.5a5.5 5.5 0 1 0 0 11zM8 2.5a5.5 5.5 0 0 1 0 11',
  folder: 'M2 4.5h4l1.2 1.5H14v6.5H2z',
  file: 'M4 2.5h5l3 3v8H4zM9 2.5v3h3',
  link: 'M6.5 9.5l3-3M7 5l1.5-1.5a2.5 2.5 0 0 1 3.5 3.5L10.5 8.5M9 11l-1.5 1.5a2.5 2.5 0 0 1-3.5-3.5L5.5 7.5',
  special: 'M8 2.5 13.5 8 8 13.5 2.5 8z',
  chevron: 'M6 4l4 4-4 4',
  close: 'M4 4l8 8M12 4l-8 8',
  copy: 'M5.5 5.5v-3h8v8h-3M2.5 5.5h8v8h-8z',
  download: 'M8 2.5v7M5 7l3 3 3-3M3 13h10',
  play: 'M5 3.5v9l7-4.5z',
  plus: 'M8 3v10M3 8h10',
  key: 'M10 6a2.5 2.5 0 1 0-2.6 2.5L3 13v.5h2V12h1.5v-1.5H8l1-1.2',
  ok: 'M3.5 8.5l3 3 6-7',
  warning: 'M8 3v6.5M8 12.5v.2',
  failed: 'M4.5 4.5l7 7M11.5 4.5l-7 7',
};

/**
 * Returns a decorative icon; its meaning is in the text next to it or in a label.
 * @param {keyof typeof ICONS} name
 * @returns {SVGSVGElement}
 */
export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  for (const [key, value] of Object.entries({ viewBox: '0 0 16 16', class: 'icon', 'aria-hidden': 'true' })) {
    svg.setAttribute(key, value);
  }
  const path = document.createElementNS(SVG, 'path');
  path.setAttribute('d', ICONS[name]);
  svg.appendChild(path);
  return svg;
}

/** @typedef {keyof typeof ICONS} IconName */
