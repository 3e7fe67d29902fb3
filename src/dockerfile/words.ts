import { dockerfileFault } from './faults.ts';

/** Escape character of a Dockerfile. */
export type Escape = '\\' | '`';

/** Splits the flags (`--name=value`) from the arguments that follow them. A lone `--` ends the flags. */
export function splitFlags(text: string): { readonly flags: readonly string[]; readonly rest: string } {
  const flags: string[] = [];
  let at = 0;
  for (;;) {
    while (isSpace(text[at])) at += 1;
    if (!text.startsWith('--', at)) return { flags, rest: text.slice(at) };
    const { word, end } = unquotedWord(text, at);
    at = end;
    if (word === '--') return { flags, rest: text.slice(at) };
    flags.push(word);
  }
}

/** Reads the word at `at` without its quotes. */
function unquotedWord(text: string, at: number): { readonly word: string; readonly end: number } {
  const parts: string[] = [];
  let quote = '';
  let end = at;
  for (; end < text.length; end += 1) {
    const character = text[end] ?? '';
    if (character === '\\') {
      end += 1;
      parts.push(text[end] ?? '');
    } else if (quote !== '') {
      if (character === quote) quote = '';
      else parts.push(character);
    } else if (character === '"' || character === "'") quote = character;
    else if (isSpace(character)) break;
    else parts.push(character);
  }
  return { word: parts.join(''), end };
}

/** Splits text at spaces outside of quotes; quotes and escapes stay in the words, for the substitution to read. */
export function quotedWords(text: string, escape: Escape): string[] {
  const words: string[] = [];
  let start = -1;
  let quote = '';
  for (let at = 0; at < text.length; at += 1) {
    const character = text[at] ?? '';
    if (start < 0) {
      if (isSpace(character)) continue;
      start = at;
    }
    if (character === escape && quote !== "'") at += 1;
    else if (quote !== '') quote = character === quote ? '' : quote;
    else if (character === '"' || character === "'") quote = character;
    else if (isSpace(character)) {
      words.push(text.slice(start, at));
      start = -1;
    }
  }
  if (start >= 0) words.push(text.slice(start));
  return words;
}

/** Splits text at spaces, whatever they stand in. */
export function plainWords(text: string): string[] {
  return text.split(/[\t\v\f\r\n ]+/u).filter((word) => word !== '');
}

/** Returns the strings of a JSON list; undefined when the text is not one. Faults: DOCKERFILE_INVALID for other values in it. */
export function jsonWords(text: string, line: number): string[] | undefined {
  if (!text.startsWith('[')) return undefined;
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!Array.isArray(parsed)) return undefined;
  const words = parsed.filter((word) => typeof word === 'string');
  if (words.length < parsed.length) throw dockerfileFault(line, 'a JSON list must contain only strings');
  return words;
}

/** Reports whether a character is white space. */
export function isSpace(character: string | undefined): boolean {
  if (character === undefined) return false;
  // Nearly all characters are ASCII, and an expression takes ten times as long as two comparisons.
  if (character <= '~') return character === ' ' || (character >= '\t' && character <= '\r');
  return /\s/u.test(character);
}
