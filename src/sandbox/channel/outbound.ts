/** Bytes of one frame, small enough that the guest's next piece of work never waits long. */
const PIECE_BYTES_MAX = 64 * 1024;

/**
 * Bytes on their way to a process or a connection in the guest. At most a window of them waits there, because the guest
 * returns credit for what was taken.
 */
export class Outbound {
  readonly #window: number;
  readonly #send: (piece: Uint8Array) => void;
  #sent = 0;
  #taken = 0;
  #waiters: (() => void)[] = [];
  #ended = false;
  #failure: Error | undefined;

  constructor(windowBytes: number, send: (piece: Uint8Array) => void) {
    this.#window = windowBytes;
    this.#send = send;
  }

  /** Resolves when everything is sent, or discarded because the receiver has ended. Rejects with the error of `end`. */
  async send(bytes: Uint8Array): Promise<void> {
    for (let from = 0; from < bytes.byteLength;) {
      await this.#until(() => this.#sent - this.#taken < this.#window);
      if (this.#ended) return;
      const room = Math.min(PIECE_BYTES_MAX, this.#window - (this.#sent - this.#taken));
      const piece = bytes.subarray(from, from + room);
      this.#sent += piece.byteLength;
      from += piece.byteLength;
      this.#send(piece);
    }
  }

  /** Resolves when the guest has taken everything sent so far. Rejects with the error of `end`. */
  async taken(): Promise<void> {
    const end = this.#sent;
    await this.#until(() => this.#taken >= end);
  }

  /** Records credit from the guest; false when it is for more than was sent. */
  credit(bytes: number): boolean {
    this.#taken += bytes;
    if (this.#taken > this.#sent) return false;
    this.#wake();
    return true;
  }

  /** Ends all waits, now and later. Without an error the receiver has ended, and takes everything. */
  end(error?: Error): void {
    if (error === undefined) this.#ended = true;
    else this.#failure ??= error;
    this.#wake();
  }

  async #until(enough: () => boolean): Promise<void> {
    while (!this.#ended && this.#failure === undefined && !enough()) {
      await new Promise<void>((resolve) => {
        this.#waiters.push(resolve);
      });
    }
    if (this.#failure !== undefined) throw this.#failure;
  }

  #wake(): void {
    for (const wake of this.#waiters.splice(0)) wake();
  }
}
