import type { NetworkUse } from '../driver.ts';

/** Limit of different refusals that are counted separately, so that a guest that scans cannot fill the host's memory. */
const REFUSALS_MAX = 256;
const REFUSALS_SHOWN = 20;
const OTHERS = 'others';

/** Counts one run's traffic as the guest's interface sees it: bytes of Ethernet frames. */
export class UseCounter {
  #rxBytes = 0;
  #rxPackets = 0;
  #txBytes = 0;
  #txPackets = 0;
  #dropped = 0;
  readonly #refusals = new Map<string, number>();

  received(bytes: number): void {
    this.#rxBytes += bytes;
    this.#rxPackets += 1;
  }

  sent(bytes: number): void {
    this.#txBytes += bytes;
    this.#txPackets += 1;
  }

  /** Counts a refused frame or name; `what` is text for people. */
  refused(what: string): void {
    this.#dropped += 1;
    const known = this.#refusals.size < REFUSALS_MAX || this.#refusals.has(what);
    const key = known ? what : OTHERS;
    this.#refusals.set(key, (this.#refusals.get(key) ?? 0) + 1);
  }

  snapshot(): NetworkUse {
    const byCount = [...this.#refusals].sort(([, a], [, b]) => b - a);
    return {
      rxBytes: this.#rxBytes,
      rxPackets: this.#rxPackets,
      txBytes: this.#txBytes,
      txPackets: this.#txPackets,
      dropped: this.#dropped,
      refused: byCount.slice(0, REFUSALS_SHOWN).map(([what]) => what),
    };
  }
}
