interface Waiting<Item, Result> {
  readonly item: Item;
  readonly resolve: (result: Result) => void;
  readonly reject: (error: unknown) => void;
}

export interface GroupTerms<Item> {
  /** Groups that are under way at once. */
  readonly atOnce: number;
  /** Largest weight of a group; one item that weighs more goes alone. */
  readonly weightMax: number;
  readonly weightOf: (item: Item) => number;
  /** Reports whether an error says nothing about single items, so that a smaller group would meet it, too. */
  readonly isCommon: (error: unknown) => boolean;
}

/**
 * Calls that go together: what is asked for while others are under way waits for them, and then goes as one group. So a call
 * alone is made at once, and under load one serves many.
 */
export class Grouped<Item, Result> {
  readonly #call: (items: readonly Item[]) => Promise<readonly Result[]>;
  readonly #terms: GroupTerms<Item>;
  readonly #waiting: Waiting<Item, Result>[] = [];
  #calling = 0;

  /** `call` answers the items of a group in their order, or rejects and has done nothing that matters. */
  constructor(call: (items: readonly Item[]) => Promise<readonly Result[]>, terms: GroupTerms<Item>) {
    this.#call = call;
    this.#terms = terms;
  }

  /** Returns the answer to one item. Rejects as `call` does with a group, or with the item alone when others may be at fault. */
  async run(item: Item): Promise<Result> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ item, resolve, reject });
      if (this.#calling < this.#terms.atOnce) void this.#callWaiting();
    });
  }

  async #callWaiting(): Promise<void> {
    this.#calling += 1;
    while (this.#waiting.length > 0) await this.#together(this.#next());
    this.#calling -= 1;
  }

  #next(): Waiting<Item, Result>[] {
    const { weightMax, weightOf } = this.#terms;
    let weight = 0;
    const end = this.#waiting.findIndex(({ item }, index) => {
      weight += weightOf(item);
      return index > 0 && weight > weightMax;
    });
    return this.#waiting.splice(0, end === -1 ? this.#waiting.length : end);
  }

  async #together(group: readonly Waiting<Item, Result>[]): Promise<void> {
    try {
      const results = await this.#call(group.map(({ item }) => item));
      for (const [index, { resolve }] of group.entries()) resolve(results[index] as Result);
    } catch (error) {
      if (group.length > 1 && !this.#terms.isCommon(error)) {
        for (const one of group) await this.#together([one]);
      } else {
        for (const { reject } of group) reject(error);
      }
    }
  }
}
