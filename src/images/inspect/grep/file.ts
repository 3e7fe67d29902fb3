import { limits } from '../../../contract/limits.ts';
import type { GrepMatch } from '../../../contract/inspect.ts';
import { Text, type GrepPattern } from './pattern.ts';

const NEWLINE = 0x0a;
const SUBMATCHES_MAX = 100;
/** Bytes searched of a longer line. */
const LINE_BYTES_SEARCHED = 1024 * 1024;
/** Bytes reported of a longer line. */
const LINE_BYTES_SHOWN = limits.grepLineBytesMax;
/** Bytes checked for a zero byte, which marks a binary file. */
const BINARY_CHECK_BYTES = 64 * 1024;

export interface FileSearch {
  readonly pattern: GrepPattern;
  /** Maximum number of matching lines. */
  readonly countMax: number;
  /** Lines of context. */
  readonly before: number;
  readonly after: number;
}

/** Line within a segment; `end` is after its line feed. */
interface Line {
  readonly start: number;
  readonly end: number;
}

/** Searcher of one file, which is given in segments of whole lines; it collects the reported lines. */
export class FileSearcher {
  readonly #path: string;
  readonly #search: FileSearch;
  readonly #found: GrepMatch[] = [];
  #count = 0;
  /** Offset of the next segment in the file, and the number of its first line. */
  #offset = 0;
  #number = 1;
  /** Lines that are still to be reported because they follow a match. */
  #owed = 0;
  /** Last unreported lines, as context for a match at the start of the next segment. */
  #passed: GrepMatch[] = [];
  #binary = false;

  constructor(path: string, search: FileSearch) {
    this.#path = path;
    this.#search = search;
  }

  /** Returns matches and the lines around them, in order. */
  get found(): readonly GrepMatch[] {
    return this.#found;
  }

  /** Returns the number of matching lines. */
  get count(): number {
    return this.#count;
  }

  /** Returns true when this file can produce no further results. */
  get finished(): boolean {
    return this.#binary || (this.#count >= this.#search.countMax && this.#owed === 0);
  }

  push(segment: Buffer, { isLast }: { readonly isLast: boolean }): void {
    const whole = new Text(segment);
    const quiet = this.#owed === 0 && this.#search.pattern.nextPlace(whole, 0) < 0;
    if (!quiet || !isLast) {
      const bytes = this.#textOf(segment);
      if (quiet && this.#search.before === 0) this.#number += countLines(bytes, 0, bytes.length);
      else this.#searchText(bytes.length === segment.length ? whole : new Text(bytes));
    }
    this.#offset += segment.length;
  }

  /** Returns the part before a zero byte, or nothing for a file with an early one. */
  #textOf(segment: Buffer): Buffer {
    const zero = segment.indexOf(0);
    if (zero < 0) return segment;
    this.#binary = true;
    if (this.#offset + zero < BINARY_CHECK_BYTES) return segment.subarray(0, 0);
    return segment.subarray(0, segment.lastIndexOf(NEWLINE, zero) + 1);
  }

  #searchText(searched: Text): void {
    const text = searched.bytes;
    let reportedTo = 0;
    let counted = 0;
    for (const line of candidateLines(searched, this.#search.pattern)) {
      if (this.#count >= this.#search.countMax) break;
      const submatches = this.#submatchesOf(text, line);
      if (submatches === undefined) continue;
      reportedTo = this.#showAfter(text, reportedTo, line.start);
      this.#number += countLines(text, counted, line.start);
      counted = line.start;
      this.#showBefore(text, reportedTo, line.start);
      this.#found.push({ ...this.#entryOf(text, line, this.#number), submatches, type: 'match' });
      this.#count += 1;
      this.#owed = this.#search.after;
      reportedTo = line.end;
    }
    reportedTo = this.#showAfter(text, reportedTo, text.length);
    this.#number += countLines(text, counted, text.length);
    this.#keepPassed(text, reportedTo);
  }

  /** Reports context after the last match, up to the next one. Returns the end of the reported lines. */
  #showAfter(text: Buffer, from: number, to: number): number {
    let at = from;
    while (this.#owed > 0 && at < to) {
      const line = lineAt(text, at);
      const { line_number: previous = 0 } = this.#found.at(-1) ?? {};
      this.#found.push(this.#entryOf(text, line, previous + 1));
      this.#owed -= 1;
      at = line.end;
    }
    return at;
  }

  /** Reports context before a match that begins at `to` with line number `#number`. */
  #showBefore(text: Buffer, from: number, to: number): void {
    const lines = linesBefore(text, from, to, this.#search.before);
    const missing = this.#search.before - lines.length;
    if (from === 0 && missing > 0) this.#found.push(...this.#passed.slice(-missing));
    this.#passed = [];
    for (const [index, line] of lines.entries()) {
      this.#found.push(this.#entryOf(text, line, this.#number - lines.length + index));
    }
  }

  #keepPassed(text: Buffer, from: number): void {
    const { before } = this.#search;
    if (before === 0) return;
    const lines = linesBefore(text, from, text.length, before);
    const entries = lines.map((line, index) => this.#entryOf(text, line, this.#number - lines.length + index));
    this.#passed = from === 0 ? [...this.#passed, ...entries].slice(-before) : entries;
  }

  #entryOf(text: Buffer, { start, end }: Line, number: number): GrepMatch {
    return {
      path: this.#path,
      line_number: number,
      absolute_offset: this.#offset + start,
      line_text: text.toString('utf8', start, Math.min(end, start + LINE_BYTES_SHOWN)),
      line_bytes: end - start,
      submatches: [],
      type: 'context',
    };
  }

  /** Returns the matching parts of the line, in bytes from its start; undefined when there are none. */
  #submatchesOf(text: Buffer, { start, end }: Line): GrepMatch['submatches'] | undefined {
    const { literal } = this.#search.pattern;
    if (literal !== undefined) return placesOf(text, literal, { start, end });
    const feed = text[end - 1] === NEWLINE ? 1 : 0;
    const line = text.toString('utf8', start, Math.min(end - feed, start + LINE_BYTES_SEARCHED));
    const matcher = this.#search.pattern.expression.matcher(line);
    if (!matcher.find()) return undefined;
    const submatches: GrepMatch['submatches'] = [];
    let bytes = 0;
    let characters = 0;
    do {
      const [from, to] = [matcher.start(), matcher.end()];
      const matched = line.slice(from, to);
      bytes += Buffer.byteLength(line.slice(characters, from));
      const length = Buffer.byteLength(matched);
      if (bytes + length > LINE_BYTES_SHOWN) break;
      submatches.push({ text: matched, start: bytes, end: bytes + length });
      bytes += length;
      characters = to;
    } while (submatches.length < SUBMATCHES_MAX && matcher.find());
    return submatches;
  }
}

/** Returns the positions of a text in a line; undefined when there are none. */
function placesOf(bytes: Buffer, literal: Buffer, { start, end }: Line): GrepMatch['submatches'] | undefined {
  const text = literal.toString('utf8');
  const submatches: GrepMatch['submatches'] = [];
  let place = bytes.indexOf(literal, start);
  if (place < 0 || place >= end) return undefined;
  while (place >= 0 && place < end && submatches.length < SUBMATCHES_MAX) {
    const from = place - start;
    if (from + literal.length > LINE_BYTES_SHOWN) break;
    submatches.push({ text, start: from, end: from + literal.length });
    place = bytes.indexOf(literal, place + literal.length);
  }
  return submatches;
}

/** Yields lines that can match. */
function* candidateLines(text: Text, { nextPlace }: GrepPattern): Generator<Line> {
  const { bytes } = text;
  for (let place = nextPlace(text, 0); place >= 0;) {
    const line = lineAt(bytes, place === 0 ? 0 : bytes.lastIndexOf(NEWLINE, place - 1) + 1);
    yield line;
    place = line.end < bytes.length ? nextPlace(text, line.end) : -1;
  }
}

function lineAt(text: Buffer, start: number): Line {
  const feed = text.indexOf(NEWLINE, start);
  return { start, end: feed < 0 ? text.length : feed + 1 };
}

/** Returns up to `count` lines that end at `to`, none beginning before `from`. */
function linesBefore(text: Buffer, from: number, to: number, count: number): Line[] {
  const lines: Line[] = [];
  let end = to;
  while (lines.length < count && end > from) {
    const feed = end - 2 < from ? -1 : text.lastIndexOf(NEWLINE, end - 2);
    const start = feed < from ? from : feed + 1;
    lines.unshift({ start, end });
    end = start;
  }
  return lines;
}

function countLines(text: Buffer, from: number, to: number): number {
  let count = 0;
  for (let at = text.indexOf(NEWLINE, from); at >= 0 && at < to; at = text.indexOf(NEWLINE, at + 1)) count += 1;
  return count;
}
