import { Credit, frameCost } from './credit.ts';

/**
 * Queue of data frames between the channel and one reader. Its size is bounded by the credit of the guest; `giveBack`
 * returns the credit of what the reader takes.
 */
export class InboundStream<Item> implements AsyncIterableIterator<Item> {
  readonly #credit: Credit;
  readonly #giveBack: (bytes: number) => void;
  #queue: { readonly item: Item; readonly cost: number }[] = [];
  #ended = false;
  #error: Error | undefined;
  #abandoned = false;
  #wake: (() => void) | undefined;

  constructor(windowBytes: number, giveBack: (bytes: number) => void) {
    this.#credit = new Credit(windowBytes);
    this.#giveBack = giveBack;
  }

  /** Adds what arrived; false when the guest had no credit for it. */
  push(item: Item, payload: Uint8Array): boolean {
    const cost = frameCost(payload);
    if (!this.#credit.charge(cost)) return false;
    if (this.#abandoned) this.#consumed(cost);
    else this.#queue.push({ item, cost });
    this.#wake?.();
    return true;
  }

  /** Ends the stream. The reader still gets what is queued, then the error if there is one. */
  end(error?: Error): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    this.#wake?.();
  }

  #consumed(cost: number): void {
    const given = this.#credit.consume(cost);
    if (given > 0 && !this.#ended) this.#giveBack(given);
  }

  async next(): Promise<IteratorResult<Item, undefined>> {
    while (this.#queue.length === 0 && !this.#ended && !this.#abandoned) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
    const first = this.#queue.shift();
    if (first !== undefined) {
      this.#consumed(first.cost);
      return { done: false, value: first.item };
    }
    const error = this.#error;
    this.#error = undefined;
    if (error !== undefined) throw error;
    return { done: true, value: undefined };
  }

  /** Stops reading. Later frames are accepted and discarded, so that the guest never waits for the reader. */
  async return(): Promise<IteratorResult<Item, undefined>> {
    this.#abandoned = true;
    for (const { cost } of this.#queue.splice(0)) this.#consumed(cost);
    this.#wake?.();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
