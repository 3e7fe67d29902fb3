import type { OperationKind } from '../contract/operation.ts';
import type { Admission } from './admission.ts';

/** A sum and of how many. */
export interface Total {
  readonly seconds: number;
  readonly count: number;
}

/** Number of queued and of admitted operations. */
export interface QueueLength {
  readonly waiting: number;
  readonly running: number;
}

/** Counters of an engine since its start. Memory grows with names, not with operations. */
export class Statistics {
  readonly #phases = new Map<string, { seconds: number; count: number }>();
  readonly #ends = new Map<string, { kind: OperationKind; status: string; count: number }>();

  /** Steps of one run, milliseconds. */
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
