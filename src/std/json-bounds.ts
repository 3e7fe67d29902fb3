const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const [LIST, LIST_END] = [0x5b, 0x5d];
const [OBJECT, OBJECT_END] = [0x7b, 0x7d];

/** Bounds on the content of a JSON text. */
export interface JsonShape {
  /** Fields of objects and elements of lists, all together. */
  readonly valuesMax: number;
  /** Values in one object or list. */
  readonly membersMax: number;
  readonly depthMax: number;
}

/** A JSON text that exceeds its bounds. */
export class JsonTooLarge extends Error {
  override readonly name = 'JsonTooLarge';
  readonly what: 'bytes' | 'values' | 'values in one list or object' | 'levels of nesting';
  readonly limit: number;

  constructor(what: JsonTooLarge['what'], limit: number) {
    super(`the JSON has more than ${limit} ${what}`);
    this.what = what;
    this.limit = limit;
  }
}

/**
 * Reads a JSON text (RFC 8259) whose bytes the caller bounds, and counts its values while it arrives, so that a small
 * text that would be expensive to parse and check is refused first. It does not check that the text is JSON; the parser
 * does. Throws JsonTooLarge.
 */
export async function readBoundedJson(
  source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  shape: JsonShape,
): Promise<string> {
  const counter = new Counter(shape);
  const chunks: Uint8Array[] = [];
  for await (const chunk of source) {
    counter.count(chunk);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

class Counter {
  readonly #shape: JsonShape;
  /** Values counted so far in each open container, outermost first. */
  readonly #members: number[] = [];
  #values = 0;
  #inString = false;
  #escaped = false;

  constructor(shape: JsonShape) {
    this.#shape = shape;
  }

  count(chunk: Uint8Array): void {
    for (let at = 0; at < chunk.length;) {
      at = this.#inString ? this.#passText(chunk, at) : this.#passStructure(chunk, at);
    }
  }

  /** Goes to where the string ends. */
  #passText(chunk: Uint8Array, start: number): number {
    const first = this.#escaped ? start + 1 : start;
    this.#escaped = false;
    for (let at = first; at < chunk.length; at++) {
      if (chunk[at] === BACKSLASH) at += 1;
      else if (chunk[at] === QUOTE) {
        this.#inString = false;
        return at + 1;
      }
      this.#escaped = at >= chunk.length;
    }
    return chunk.length;
  }

  /** Goes to where the next string begins. */
  #passStructure(chunk: Uint8Array, start: number): number {
    for (let at = start; at < chunk.length; at++) {
      const byte = chunk[at];
      if (byte === QUOTE) {
        this.#inString = true;
        return at + 1;
      }
      if (byte === COMMA) this.#add();
      else if (byte === LIST || byte === OBJECT) this.#open();
      else if (byte === LIST_END || byte === OBJECT_END) this.#members.pop();
    }
    return chunk.length;
  }

  #open(): void {
    const { depthMax } = this.#shape;
    if (this.#members.length >= depthMax) throw new JsonTooLarge('levels of nesting', depthMax);
    this.#members.push(0);
    this.#add();
  }

  #add(): void {
    const { valuesMax, membersMax } = this.#shape;
    const last = this.#members.length - 1;
    const members = (this.#members[last] ?? 0) + 1;
    this.#values += 1;
    if (last >= 0) this.#members[last] = members;
    if (members > membersMax) throw new JsonTooLarge('values in one list or object', membersMax);
    if (this.#values > valuesMax) throw new JsonTooLarge('values', valuesMax);
  }
}
