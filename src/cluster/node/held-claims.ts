import type { Claim } from '../catalogue/transitions.ts';

/** Claims that this node believes it has. */
export class HeldClaims {
  readonly #held = new Map<string, Claim>();

  get size(): number {
    return this.#held.size;
  }

  add(claim: Claim): void {
    this.#held.set(claim.operation, claim);
  }

  /** Forgets a claim, unless there is a newer one of the same operation. */
  drop(claim: Claim): void {
    if (this.has(claim)) this.#held.delete(claim.operation);
  }

  has({ operation, fence }: Claim): boolean {
    return this.#held.get(operation)?.fence === fence;
  }

  find(operation: string): Claim | undefined {
    return this.#held.get(operation);
  }

  all(): Claim[] {
    return [...this.#held.values()];
  }
}
