/** The last bytes of a stream that may be endless: words for an error message. */
export class Tail {
  readonly #bytesMax: number;
  #kept = Buffer.alloc(0);

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  push(chunk: Buffer): void {
    const joined = Buffer.concat([this.#kept, chunk.subarray(-this.#bytesMax)]);
    this.#kept = Buffer.from(joined.subarray(-this.#bytesMax));
  }

  /** The last `count` lines with text, printable ASCII only: who wrote them may be hostile. */
  lastLines(count: number): string {
    const lines = this.#kept.toString('latin1').split('\n');
    const words = lines.map((line) => line.replaceAll(/[^ -~]/gu, '').trim()).filter((line) => line !== '');
    return words.slice(-count).join('; ');
  }
}
