import { fault } from '../../contract/errors.ts';

const NUMBER_MAX = 65_535;

/**
 * Gives numbers to the processes and connections of a channel. A number is free again once the guest's last frame about it
 * has arrived: the host sends none after that, and both directions keep their order, so a frame never reaches the next owner.
 */
export class Numbers<Owner extends { readonly finished: boolean }> {
  readonly #owners = new Map<number, Owner>();
  #last = 0;

  /** Makes the owner of the next free number. Throws OPERATION_LIMIT when all are taken. */
  add<Made extends Owner>(make: (number: number) => Made): Made {
    if (this.#owners.size === NUMBER_MAX) throw fault('OPERATION_LIMIT', { limit: NUMBER_MAX });
    do this.#last = (this.#last % NUMBER_MAX) + 1;
    while (this.#owners.has(this.#last));
    const owner = make(this.#last);
    this.#owners.set(this.#last, owner);
    return owner;
  }

  get(number: number): Owner | undefined {
    return this.#owners.get(number);
  }

  /** Frees the number of an owner that has finished. */
  settle(number: number): void {
    if (this.#owners.get(number)?.finished) this.#owners.delete(number);
  }

  /** Removes and returns all owners. */
  clear(): Owner[] {
    const owners = [...this.#owners.values()];
    this.#owners.clear();
    return owners;
  }

  *[Symbol.iterator](): Generator<Owner> {
    yield* this.#owners.values();
  }
}
