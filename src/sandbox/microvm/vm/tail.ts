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

  /** The last `count` lines with text. */
  lastLines(count: number): string {
    return this.#lines().slice(-count).join('; ');
  }

  /** The last line that has what is looked for, from there on. */
  lastMatch(pattern: RegExp): string | undefined {
    return this.#lines()
      .map((line) => pattern.exec(line)?.[0])
      .findLast((match) => match !== undefined);
  }

  /** Printable ASCII only: who wrote them may be hostile. */
  #lines(): string[] {
    const lines = this.#kept.toString('latin1').split('\n');
    return lines.map((line) => line.replaceAll(/[^ -~]/gu, '').trim()).filter((line) => line !== '');
  }
}
