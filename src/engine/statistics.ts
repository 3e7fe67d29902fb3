import type { OperationKind } from '../contract/operation.ts';
import type { Admission } from './admission.ts';

/** Sum and the number of its summands. */
export interface Total {
  readonly seconds: number;
  readonly count: number;
}

/** Numbers of queued and of admitted operations. */
export interface QueueLength {
  readonly waiting: number;
  readonly running: number;
}

/** Counters of an engine since its start. Memory grows with the number of names, not of operations. */
export class Statistics {
  readonly #phases = new Map<string, { seconds: number; count: number }>();
  readonly #ends = new Map<string, { kind: OperationKind; status: string; count: number }>();

  /** Adds the steps of one run, in milliseconds. */
  ran(stepsMs: Readonly<Record<string, number>>): void {
    for (const [step, ms] of Object.entries(stepsMs)) {
      const phase = this.#phases.get(step) ?? { seconds: 0, count: 0 };
      phase.seconds += ms / 1_000;
      phase.count += 1;
      this.#phases.set(step, phase);
    }
  }

  ended(kind: OperationKind, status: string): void {
    const key = `${kind} ${status}`;
    const end = this.#ends.get(key) ?? { kind, status, count: 0 };
    end.count += 1;
    this.#ends.set(key, end);
  }

  get phases(): ReadonlyMap<string, Total> {
    return this.#phases;
  }

  get ends(): readonly { readonly kind: OperationKind; readonly status: string; readonly count: number }[] {
    return [...this.#ends.values()];
  }
}

export function queueLength({ waiting, admitted }: Admission): QueueLength {
  return { waiting, running: admitted };
}
