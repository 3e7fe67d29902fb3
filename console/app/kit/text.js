/**
 * Characters that are invisible or change how others are displayed: controls but tab and newline, soft hyphen, zero
 * width, direction marks and overrides, line separators, interlinear marks, tags, and halves of surrogate pairs.
 */
const UNSEEN =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/gu;

/** @type {Readonly<Record<string, string>>} */
const SHORT = {
  '\0': '\\0',
  '\b': '\\b',
  '\v': '\\v',
  '\f': '\\f',
  '\r': '\\r',
  '\u001b': '\\e',
  '\n': '\\n',
  '\t': '\\t',
};

/**
 * Returns an invisible character as an escape: `\e` for escape, `\u202e` for others.
 * @param {string} character
 */
function escaped(character) {
  const code = character.codePointAt(0) ?? 0;
  return SHORT[character] ?? (code > 0xffff ? `\\u{${code.toString(16)}}` : `\\u${code.toString(16).padStart(4, '0')}`);
}

/**
 * Returns text from inside an image as one line of plain text, for labels and titles.
 * @param {string} text
 */
export function plain(text) {
  return text.replaceAll(UNSEEN, escaped).replaceAll(/[\n\t]/gu, escaped);
}

/**
 * Returns text from inside an image for the page. Invisible characters are escaped and marked, which distinguishes them
 * from the same letters in the text. Adjacent ones share one mark.
 * @param {string} text
 * @param {{ lines?: boolean }} [options] `lines` keeps tabs and newlines, for blocks of text
 * @returns {DocumentFragment}
 */
export function shown(text, { lines = false } = {}) {
  const fragment = document.createDocumentFragment();
  for (const { value, unseen } of parts(text, lines)) {
    if (!unseen) fragment.append(value);
    else {
      const mark = document.createElement('span');
      mark.className = 'unseen';
      mark.textContent = value;
      fragment.append(mark);
    }
  }
  return fragment;
}

/**
 * Splits the text into visible and invisible runs; invisible characters are escaped.
 * @param {string} text
 * @param {boolean} lines
 * @returns {{ value: string, unseen: boolean }[]}
 */
export function parts(text, lines = false) {
  /** @type {{ value: string, unseen: boolean }[]} */
  const found = [];
  const pattern = lines ? UNSEEN : new RegExp(`${UNSEEN.source}|[\\n\\t]`, 'gu');
  let end = 0;
  for (const { 0: character, index } of text.matchAll(pattern)) {
    if (index > end) found.push({ value: text.slice(end, index), unseen: false });
    const last = found.at(-1);
    if (last?.unseen && index === end) last.value += escaped(character);
    else found.push({ value: escaped(character), unseen: true });
    end = index + character.length;
  }
  if (end < text.length) found.push({ value: text.slice(end), unseen: false });
  return found;
}

/**
 * Returns the text, or its beginning and the length of the rest.
 * @param {string} text
 * @param {number} max characters
 */
export function cut(text, max) {
  return text.length <= max ? text : `${text.slice(0, max)}… (${(text.length - max).toLocaleString('en')} more)`;
}
