/**
 * Bytes that a sender may still send. The receiver starts with a window, charges every frame that arrives and returns what it
 * has consumed, so memory on its side is bounded by the window.
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

  /** Records consumption. Returns the credit to return now, often 0, because small amounts are collected. */
  consume(cost: number): number {
    this.#consumed += cost;
    if (this.#consumed * 4 < this.#window) return 0;
    const given = this.#consumed;
    this.#left += given;
    this.#consumed = 0;
    return given;
  }
}

/** Initial windows, as docs/guest-protocol.md specifies them. */
export const OUTPUT_WINDOW_BYTES = 256 * 1024;
export const STDIN_WINDOW_BYTES = 64 * 1024;
/** Windows of a connection: from the guest, and to it. */
export const CONNECTION_WINDOW_BYTES = 1024 * 1024;
export const CONNECTION_IN_WINDOW_BYTES = 256 * 1024;
export const CHANGES_WINDOW_BYTES = 1024 * 1024;

/** Minimum credit of a data frame, which covers the memory to hold a short one. */
const COST_MIN = 64;

export function frameCost(payload: Uint8Array): number {
  return Math.max(payload.byteLength, COST_MIN);
}
