/**
 * The terminal library (xterm.js), from our own files. Only its types are known here, because the file is made by
 * `scripts/support/console-vendor.ts`.
 * @import { Terminal as Screen } from '@xterm/xterm'
 * @import { FitAddon } from '@xterm/addon-fit'
 * @typedef {{ readonly Terminal: typeof Screen }} Xterm
 * @typedef {{ readonly FitAddon: typeof FitAddon }} Fit
 */

const LINES_KEPT = 10_000;

/** Colours of the page that the terminal takes over, by the property of its theme. @type {Readonly<Record<string, string>>} */
const PAGE_COLOURS = {
  background: '--sunken',
  foreground: '--text',
  cursor: '--accent',
  selectionBackground: '--mark',
};

/**
 * @typedef {object} TerminalOptions
 * @property {string} label for assistive technology
 * @property {(bytes: Uint8Array<ArrayBuffer>) => void} onInput what was typed or pasted, encoded as a terminal sends it
 * @property {(columns: number, rows: number) => void} onResize
 */

/**
 * A terminal that fills its element. It obeys the escape codes of what is written to it, and cannot be made to do more:
 * it makes no links, sets no title of the page, and does not touch the clipboard.
 */
export class Terminal {
  element;
  #terminal;
  #fit;
  #watch;

  /**
   * @param {Screen} terminal
   * @param {FitAddon} fit
   * @param {TerminalOptions} options
   */
  constructor(terminal, fit, { label, onInput, onResize }) {
    this.#terminal = terminal;
    this.#fit = fit;
    this.element = document.createElement('div');
    this.element.className = 'terminal';
    this.element.setAttribute('role', 'group');
    this.element.setAttribute('aria-label', label);
    const encoder = new TextEncoder();
    terminal.onData((text) => onInput(encoder.encode(text)));
    // Mouse reports are single bytes above 127.
    terminal.onBinary((text) => onInput(Uint8Array.from(text, (character) => character.charCodeAt(0))));
    terminal.onResize(({ cols, rows }) => onResize(cols, rows));
    this.#watch = new ResizeObserver(() => this.#fit.fit());
  }

  /** Draws the terminal; its element must be part of the page by now. */
  open() {
    this.#terminal.open(this.element);
    const look = getComputedStyle(this.element);
    const theme = Object.entries(PAGE_COLOURS).map(([name, property]) => [name, colour(look, property)]);
    this.#terminal.options.theme = Object.fromEntries(theme);
    this.#fit.fit();
    this.#watch.observe(this.element);
  }

  get size() {
    return { columns: this.#terminal.cols, rows: this.#terminal.rows };
  }

  /** @param {Uint8Array} bytes */
  write(bytes) {
    this.#terminal.write(bytes);
  }

  /**
   * Writes a line of the page's own, set apart from what the program wrote.
   * @param {string} text without control characters
   */
  say(text) {
    this.#terminal.write(`\r\n\u001b[0;2m[${text}]\u001b[0m\r\n`);
  }

  /** Takes no more input. */
  close() {
    this.#terminal.options.disableStdin = true;
    this.#terminal.options.cursorBlink = false;
  }

  focus() {
    this.#terminal.focus();
  }

  dispose() {
    this.#watch.disconnect();
    this.#terminal.dispose();
  }
}

/**
 * Loads the library and makes a terminal.
 * @param {TerminalOptions} options
 */
export async function makeTerminal(options) {
  styleUnderPolicy();
  const [library, addon] = await Promise.all([
    /** @type {Promise<Xterm>} */ (import(vendor('xterm.js'))),
    /** @type {Promise<Fit>} */ (import(vendor('xterm-fit.js'))),
  ]);
  const fontFamily = getComputedStyle(document.documentElement).getPropertyValue('--mono');
  const screen = new library.Terminal({
    scrollback: LINES_KEPT,
    cursorBlink: true,
    screenReaderMode: true,
    fontFamily,
    fontSize: 13,
    // A guest may not offer links: they would lead anywhere.
    linkHandler: { activate: () => undefined },
  });
  const fit = new addon.FitAddon();
  screen.loadAddon(fit);
  return new Terminal(screen, fit, options);
}

/** @param {string} name */
function vendor(name) {
  return new URL(`../../vendor/${name}`, import.meta.url).href;
}

/**
 * @param {CSSStyleDeclaration} look
 * @param {string} property
 */
function colour(look, property) {
  // The library parses colours itself, and knows neither variables nor light-dark().
  const probe = document.createElement('span');
  probe.style.color = `var(${property})`;
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value || look.color;
}

/*
 * The library sets styles by markup: rules in style elements, and style attributes. The page's policy allows neither. Both can be
 * set through objects of the browser, which no markup of a guest can reach, so the page makes elements that do it that way.
 */

/** Makes the elements that this page creates set their styles as its policy allows. */
function styleUnderPolicy() {
  document.createElement = (/** @type {string} */ tag) => (tag === 'style' ? sheetElement() : element(tag));
}

/** @param {string} tag */
function element(tag) {
  const made = Document.prototype.createElement.call(document, tag);
  const setAttribute = made.setAttribute.bind(made);
  made.setAttribute = (name, value) => {
    if (name === 'style') made.style.cssText = value;
    else setAttribute(name, value);
  };
  return made;
}

/** Returns an element whose text becomes the rules of a style sheet for as long as it is in the page. */
function sheetElement() {
  const sheet = new CSSStyleSheet();
  document.adoptedStyleSheets.push(sheet);
  const made = Document.prototype.createElement.call(document, 'span');
  made.hidden = true;
  Object.defineProperty(made, 'textContent', {
    set: (/** @type {string} */ rules) => {
      sheet.replaceSync(rules);
    },
  });
  made.remove = () => {
    document.adoptedStyleSheets = document.adoptedStyleSheets.filter((other) => other !== sheet);
    Element.prototype.remove.call(made);
  };
  return made;
}
