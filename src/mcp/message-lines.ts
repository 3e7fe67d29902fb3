/** Bytes kept of each end of a line that is too long, to find the id of its request. */
const END_BYTES = 1_024;

const ID = String.raw`("(?:[^"\\]|\\.)*"|-?\d+)`;
/** Places of the id that no nested object can imitate: before all but the version and the method, or last. */
const ID_FIRST = new RegExp(
  String.raw`^\s*\{\s*(?:"(?:jsonrpc|method)"\s*:\s*"[^"]*"\s*,\s*)*"id"\s*:\s*${ID}\s*,`,
  'u',
);
const ID_LAST = new RegExp(String.raw`,\s*"id"\s*:\s*${ID}\s*\}\s*$`, 'u');

/**
 * Yields the lines of a stream, each with its line feed, which is how messages are framed over stdio. A line longer than
 * `bytesMax` is dropped as it arrives, never held, and `onExcess` is called at its end with the id of the request in it;
 * undefined when it has none. The end of the stream ends an unfinished line without yielding it.
 */
export async function* messageLines(
  source: AsyncIterable<Uint8Array>,
  bytesMax: number,
  onExcess: (id: string | number | undefined) => void,
): AsyncGenerator<Buffer> {
  let line = new Line(bytesMax);
  for await (const chunk of source) {
    for (let at = 0; at < chunk.length;) {
      const newline = chunk.indexOf(0x0a, at);
      const end = newline < 0 ? chunk.length : newline + 1;
      line.add(chunk.subarray(at, end));
      at = end;
      if (newline < 0) break;
      if (line.tooLong) onExcess(line.id());
      else yield line.whole();
      line = new Line(bytesMax);
    }
  }
}

class Line {
  readonly #bytesMax: number;
  #pieces: Uint8Array[] = [];
  #bytes = 0;
  /** Ends of a line that is too long. */
  #head = Buffer.alloc(0);
  #tail = Buffer.alloc(0);

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  get tooLong(): boolean {
    return this.#bytes > this.#bytesMax;
  }

  add(piece: Uint8Array): void {
    this.#bytes += piece.length;
    this.#pieces.push(piece);
    if (!this.tooLong) return;
    const kept = Buffer.concat(this.#pieces);
    this.#pieces = [];
    if (this.#head.length === 0) this.#head = Buffer.from(kept.subarray(0, END_BYTES));
    this.#tail = Buffer.from(Buffer.concat([this.#tail, kept]).subarray(-END_BYTES));
  }

  whole(): Buffer {
    return Buffer.concat(this.#pieces, this.#bytes);
  }

  id(): string | number | undefined {
    const id = ID_FIRST.exec(this.#head.toString('utf8'))?.[1] ?? ID_LAST.exec(this.#tail.toString('utf8'))?.[1];
    return id === undefined ? undefined : (JSON.parse(id) as string | number);
  }
}
