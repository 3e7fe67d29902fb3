/** Reproducible randomness for fuzzing (mulberry32): the same seed gives the same run. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  /** Returns an integer from 0 to `end - 1`. */
  below(end: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * end);
  }

  pick<Value>(values: readonly [Value, ...Value[]]): Value {
    return values[this.below(values.length)] ?? values[0];
  }

  /** Damages 1 to 4 places of `bytes` from `start` on: single bits, whole fields, copied ranges. */
  mutate(bytes: Buffer, start: number): void {
    for (let changes = 1 + this.below(4); changes > 0; changes--) {
      const at = start + this.below(bytes.length - start - 8);
      const kind = this.below(5);
      if (kind === 0) bytes[at] = (bytes[at] ?? 0) ^ (1 << this.below(8));
      else if (kind === 1) bytes[at] = this.below(256);
      else if (kind === 2) bytes.writeUInt32LE(this.pick([0, 1, 0x7fff_ffff, 0xffff_ffff]), at);
      else if (kind === 3) bytes.writeUInt16LE(this.below(0x10000), at);
      else bytes.copyWithin(at, start + this.below(bytes.length - start), start + this.below(bytes.length - start));
    }
  }
}

/** Returns the rounds of a fuzzer: few in every test run, `CONTREE_FUZZ_TIMES` times as many for a long run. */
export function fuzzRounds(usual: number): number {
  return usual * Number(process.env['CONTREE_FUZZ_TIMES'] ?? 1);
}
