import { RE2JS } from 're2js';
import { dockerfileFault } from './faults.ts';
import type { Escape } from './words.ts';

/** Variables in effect at a line. */
export interface Substitution {
  readonly variables: ReadonlyMap<string, string>;
  readonly escape: Escape;
  readonly line: number;
  /** Work of all texts that are substituted in one turn of the event loop, such as those of one instruction. */
  readonly work: Work;
}

/** Most units of work in one turn of the event loop. A unit takes about 1 µs. */
const UNITS_MAX = 20_000;
/** Units of a text and of a variable, besides those of their characters. */
const UNITS_OF_TEXT = 2;
const UNITS_PER_CHARACTER = 1 / 16;
/** Values are split into words, too. */
const UNITS_PER_VALUE_CHARACTER = 1 / 8;
/** Units of a pattern, each of its tokens, and each character that it is compared with. */
const UNITS_OF_PATTERN = 25;
const UNITS_PER_TOKEN = 5;

/** Counts the work of substitutions: values may double with every line, and patterns compared with them take long. */
export class Work {
  #units = 0;

  /** Adds units and reports whether that is still allowed. */
  allows(units: number): boolean {
    this.#units += units;
    return this.#units <= UNITS_MAX;
  }
}

/** Returns a word with its variables replaced and its quotes and escapes removed. Faults: DOCKERFILE_INVALID. */
export function expandWord(text: string, substitution: Substitution): string {
  return new Expansion(text, substitution).whole().text;
}

/** Returns what `expandWord` returns, split at the spaces that are not quoted, also those of values. */
export function expandWords(text: string, substitution: Substitution): string[] {
  return new Expansion(text, substitution).whole().words;
}

/** Returns the content of a here-document with its variables replaced; quotes stay. */
export function expandContent(text: string, substitution: Substitution): string {
  return new Expansion(text, { ...substitution, escape: '\\' }, { quotes: false }).whole().text;
}

/** Nesting of `${a:-${b:-…}}`. */
const DEPTH_MAX = 50;
const NAME = /^(?:\d+|[@*#?\-$!]|[\p{L}_][\p{L}\p{Nd}_]*)/u;
const NAME_CHARACTERS_MAX = 1_000;

/** Text gathered so far, whole and as words. */
class Gathered {
  readonly #parts: string[] = [];
  readonly words: string[] = [];
  #word = '';
  #inWord = false;

  /** Adds text whose spaces separate words. */
  add(text: string): void {
    this.#parts.push(text);
    for (const piece of text.split(/(\s+)/u)) {
      if (piece === '') continue;
      if (/^\s/u.test(piece)) this.#end();
      else this.#put(piece);
    }
  }

  /** Adds text that belongs to the word as it is. */
  addQuoted(text: string): void {
    this.#parts.push(text);
    this.#put(text);
  }

  finish(): { readonly text: string; readonly words: string[] } {
    this.#end();
    return { text: this.#parts.join(''), words: this.words };
  }

  #put(text: string): void {
    this.#word += text;
    this.#inWord = true;
  }

  #end(): void {
    if (this.#inWord && this.#word !== '') this.words.push(this.#word);
    this.#word = '';
    this.#inWord = false;
  }
}

/** One pass over a text. The rules are those of BuildKit's `shell` package, which follow POSIX shells. */
class Expansion {
  readonly #text: string;
  readonly #given: Substitution;
  readonly #quotes: boolean;
  #at = 0;
  #depth = 0;

  constructor(text: string, given: Substitution, { quotes = true } = {}) {
    this.#text = text;
    this.#given = given;
    this.#quotes = quotes;
    this.#spend(UNITS_OF_TEXT + text.length * UNITS_PER_CHARACTER);
  }

  whole(): { readonly text: string; readonly words: string[] } {
    return this.#until('', { rawEscapes: false });
  }

  /** Reads to the end, or past the character `stop`. With `rawEscapes`, escapes stay in the text: a pattern needs them. */
  #until(stop: string, { rawEscapes }: { readonly rawEscapes: boolean }): { text: string; words: string[] } {
    const gathered = new Gathered();
    for (let character = this.#peek(); character !== ''; character = this.#peek()) {
      if (character === stop) {
        this.#at += 1;
        return gathered.finish();
      }
      if (character === '$') gathered.add(this.#dollar());
      else if (this.#quotes && character === "'") gathered.addQuoted(this.#single());
      else if (this.#quotes && character === '"') gathered.addQuoted(this.#double());
      else if (character === this.#given.escape) this.#escaped(gathered, rawEscapes);
      else gathered.add(this.#plain(stop));
    }
    if (stop !== '') throw this.#problem(`the substitution lacks ${JSON.stringify(stop)}`);
    return gathered.finish();
  }

  #escaped(gathered: Gathered, rawEscapes: boolean): void {
    const escape = this.#take();
    const next = this.#take();
    if (next === '') {
      if (rawEscapes) gathered.addQuoted(escape);
      return;
    }
    gathered.addQuoted(rawEscapes ? `${escape}${next}` : next);
  }

  /** Takes all characters up to the next one that has a meaning. */
  #plain(stop: string): string {
    const start = this.#at;
    const special = `$${this.#given.escape}${stop}${this.#quotes ? `'"` : ''}`;
    do this.#at += 1;
    while (this.#at < this.#text.length && !special.includes(this.#text[this.#at] ?? ''));
    return this.#text.slice(start, this.#at);
  }

  #single(): string {
    const end = this.#text.indexOf("'", this.#at + 1);
    if (end < 0) throw this.#problem("a single quotation mark ' has no end");
    const text = this.#text.slice(this.#at + 1, end);
    this.#at = end + 1;
    return text;
  }

  #double(): string {
    const parts: string[] = [];
    this.#at += 1;
    for (;;) {
      const character = this.#peek();
      if (character === '') throw this.#problem('a double quotation mark " has no end');
      if (character === '$') {
        parts.push(this.#dollar());
        continue;
      }
      this.#at += 1;
      if (character === '"') return parts.join('');
      const next = this.#peek();
      const escapes = character === this.#given.escape;
      if (escapes && next === '') continue;
      const escapable = next === '"' || next === '$' || next === this.#given.escape;
      parts.push(escapes && escapable ? this.#take() : character);
    }
  }

  #dollar(): string {
    const value = this.#variable();
    this.#spend(1 + value.length * UNITS_PER_VALUE_CHARACTER);
    return value;
  }

  #variable(): string {
    this.#at += 1;
    if (this.#peek() !== '{') {
      const name = this.#name();
      return name === '' ? '$' : (this.#given.variables.get(name) ?? '');
    }
    this.#at += 1;
    if (this.#depth >= DEPTH_MAX) throw this.#problem(`substitutions are nested deeper than ${DEPTH_MAX}`);
    this.#depth += 1;
    const value = this.#braces();
    this.#depth -= 1;
    return value;
  }

  #braces(): string {
    const name = this.#name();
    if (name === '') throw this.#problem('a substitution ${…} has no name');
    const value = this.#given.variables.get(name);
    const modifier = this.#take();
    if (modifier === '}') return value ?? '';
    if (modifier === '/') return this.#replaced(value ?? '');
    if (modifier === '#' || modifier === '%') return this.#trimmed(value ?? '', modifier);
    const operator = modifier === ':' ? this.#take() : modifier;
    if (operator === '' || !'-+?'.includes(operator)) {
      const shown = JSON.stringify(modifier === operator ? modifier : `${modifier}${operator}`);
      throw this.#problem(modifier === '' ? 'the substitution lacks "}"' : `the modifier ${shown} is not known`);
    }
    const word = this.#until('}', { rawEscapes: false }).text;
    const unset = value === undefined || (modifier === ':' && value === '');
    if (operator === '-') return unset ? word : value;
    if (operator === '+') return unset ? '' : word;
    if (!unset) return value;
    throw this.#problem(`${name}: ${word || `it must not be ${value === undefined ? 'unset' : 'empty'}`}`);
  }

  /** `${name#pattern}`, `##`, `%` and `%%`. */
  #trimmed(value: string, side: '#' | '%'): string {
    const greedy = this.#peek() === side;
    if (greedy) this.#at += 1;
    const pattern = this.#until('}', { rawEscapes: true }).text;
    const tokens = this.#tokens(pattern, value);
    const backwards = side === '%';
    const ordered = backwards ? tokens.toReversed() : tokens;
    const subject = backwards ? reversed(value) : value;
    const match = compile(`^${expressionOf(ordered, greedy)}`).matcher(subject);
    if (!match.find()) return value;
    const rest = subject.slice(match.end());
    return backwards ? reversed(rest) : rest;
  }

  /** `${name/pattern/replacement}` and `${name//pattern/replacement}`. */
  #replaced(value: string): string {
    const all = this.#peek() === '/';
    if (all) this.#at += 1;
    const tokens = this.#tokens(this.#until('/', { rawEscapes: true }).text, value);
    const replacement = this.#until('}', { rawEscapes: false }).text;
    const matcher = compile(expressionOf(tokens, true)).matcher(value);
    const parts: string[] = [];
    let from = 0;
    while (matcher.find()) {
      parts.push(value.slice(from, matcher.start()), replacement);
      from = matcher.end();
      if (!all) break;
    }
    return [...parts, value.slice(from)].join('');
  }

  /** Parses a pattern of a shell that is compared with a value: `*`, `?`, and escapes of these. */
  #tokens(pattern: string, value: string): Token[] {
    this.#spend(UNITS_OF_PATTERN + UNITS_PER_TOKEN * pattern.length + value.length);
    const tokens: Token[] = [];
    const characters = Array.from(pattern);
    for (let at = 0; at < characters.length; at += 1) {
      const character = characters[at] ?? '';
      if (character === '*' || character === '?') tokens.push({ wildcard: character });
      else if (character === this.#given.escape) {
        at += 1;
        const escaped = characters[at] ?? '';
        if (!['*', '?', '}', '/', this.#given.escape].includes(escaped)) {
          throw this.#problem(`the escape ${JSON.stringify(character + escaped)} has no meaning in a pattern`);
        }
        tokens.push({ literal: escaped });
      } else tokens.push({ literal: character });
    }
    return tokens;
  }

  #name(): string {
    const [name = ''] = NAME.exec(this.#text.slice(this.#at, this.#at + NAME_CHARACTERS_MAX)) ?? [];
    this.#at += name.length;
    return name;
  }

  #peek(): string {
    return this.#text[this.#at] ?? '';
  }

  #take(): string {
    const character = this.#peek();
    this.#at += character.length;
    return character;
  }

  #spend(units: number): void {
    if (!this.#given.work.allows(units)) throw this.#problem('its variables are too many, or their values too long');
  }

  #problem(reason: string): Error {
    return dockerfileFault(this.#given.line, reason);
  }
}

type Token = { readonly wildcard: '*' | '?' } | { readonly literal: string };

/** Patterns come from Dockerfiles of anyone, so they are matched in linear time. */
function compile(expression: string): RE2JS {
  return RE2JS.compile(expression, RE2JS.DOTALL);
}

function expressionOf(tokens: readonly Token[], greedy: boolean): string {
  return tokens
    .map((token) => {
      if ('literal' in token) return RE2JS.quote(token.literal);
      if (token.wildcard === '?') return '.';
      return greedy ? '.*' : '.*?';
    })
    .join('');
}

function reversed(text: string): string {
  return Array.from(text).toReversed().join('');
}
