/**
 * Bytes that a sender may still send. The receiver starts with a window, charges every frame that arrives and gives back what was
 * consumed, so memory on its side is bounded by the window.
 */
export class Credit {
  readonly #window: number;
  #left: number;
  #consumed = 0;

  constructor(windowBytes: number) {
    this.#window = windowBytes;
    this.#left = windowBytes;
  }

  /** Charges a frame; false when the sender had no credit for it. */
  charge(cost: number): boolean {
    this.#left -= cost;
    return this.#left >= 0;
  }

  /** Notes consumption. Returns the credit to give back now, often 0: small amounts are saved up. */
  consume(cost: number): number {
    this.#consumed += cost;
    if (this.#consumed * 4 < this.#window) return 0;
    const given = this.#consumed;
    this.#left += given;
    this.#consumed = 0;
    return given;
  }
}

/** Windows at the start, as docs/guest-protocol.md has them. */
export const OUTPUT_WINDOW_BYTES = 256 * 1024;
export const STDIN_WINDOW_BYTES = 64 * 1024;
export const CHANGES_WINDOW_BYTES = 1024 * 1024;

/** The least a frame of data costs, however short: what it takes to hold one. */
const COST_MIN = 64;

export function frameCost(payload: Uint8Array): number {
  return Math.max(payload.byteLength, COST_MIN);
}
