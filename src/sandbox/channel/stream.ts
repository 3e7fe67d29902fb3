import { Credit, frameCost } from './credit.ts';

/**
 * Data frames on their way from the channel to one reader. What waits here is bounded by the credit the guest was given;
 * what the reader takes is given back through `giveBack`.
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

  /** No more will come; the reader still gets what waits, then the error if there is one. */
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

  /** The reader has seen enough: what comes from now on is taken and thrown away, so that the guest never waits for it. */
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
