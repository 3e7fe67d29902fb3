/** Owner of flows: a run. */
export interface FlowHolder {
  readonly size: number;
  /** Closes the flow that was used least recently. */
  dropOldest(): void;
}

/** Descriptors that the flows of all runs of an engine use together. */
const FLOWS_MAX = 2_048;

/** Bounds the flows of all runs together. When no room is left, the run with the most flows closes one. */
export class FlowBudget {
  readonly #max: number;
  readonly #holders = new Set<FlowHolder>();

  constructor(max: number = FLOWS_MAX) {
    this.#max = max;
  }

  join(holder: FlowHolder): void {
    this.#holders.add(holder);
  }

  leave(holder: FlowHolder): void {
    this.#holders.delete(holder);
  }

  /** Makes room for one more flow. */
  makeRoom(): void {
    let total = 0;
    let largest: FlowHolder | undefined;
    for (const holder of this.#holders) {
      total += holder.size;
      if (largest === undefined || holder.size > largest.size) largest = holder;
    }
    if (total >= this.#max) largest?.dropOldest();
  }
}

/** Budget of this process, because descriptors belong to a process. */
export const processFlows = new FlowBudget();
