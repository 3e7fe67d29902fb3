import { fault } from '../../contract/errors.ts';
import { assert } from '../../std/assert.ts';

export interface PlaceBounds {
  readonly atOnce: number;
  /** Places of one project. */
  readonly perProject: number;
  /** Queue length of one project. */
  readonly waitingPerProject: number;
}

interface Waiting {
  readonly project: string;
  readonly admit: () => void;
}

/**
 * Places shared fairly between projects: the waiting project with the fewest gets the next one, and none may have all.
 * Within a project, first come first served.
 */
export class Places {
  readonly #bounds: PlaceBounds;
  readonly #taken = new Map<string, number>();
  readonly #line = new Set<Waiting>();

  constructor(bounds: PlaceBounds) {
    this.#bounds = bounds;
  }

  /**
   * Waits for a place; disposing it, once or more often, releases the place. Rejects with INSPECTION_BUSY when too many
   * jobs of the project are waiting, or with the signal's reason.
   */
  async enter(project: string, signal: AbortSignal | undefined): Promise<Disposable> {
    signal?.throwIfAborted();
    const { waitingPerProject: limit } = this.#bounds;
    if ([...this.#line].filter((waiting) => waiting.project === project).length >= limit) {
      throw fault('INSPECTION_BUSY', { limit });
    }
    await this.#admission(project, signal);
    let given = false;
    return {
      [Symbol.dispose]: () => {
        if (!given) this.#give(project);
        given = true;
      },
    };
  }

  #admission(project: string, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        this.#line.delete(waiting);
        reject(signal?.reason as Error);
      };
      const admit = (): void => {
        signal?.removeEventListener('abort', leave);
        resolve();
      };
      const waiting = { project, admit };
      this.#line.add(waiting);
      signal?.addEventListener('abort', leave, { once: true });
      this.#advance();
    });
  }

  /** Admits waiting work as long as there are places. */
  #advance(): void {
    for (let next = this.#next(); next !== undefined; next = this.#next()) {
      this.#line.delete(next);
      this.#taken.set(next.project, this.#of(next.project) + 1);
      next.admit();
    }
  }

  #next(): Waiting | undefined {
    const { atOnce, perProject } = this.#bounds;
    const taken = [...this.#taken.values()].reduce((sum, count) => sum + count, 0);
    if (taken >= atOnce) return undefined;
    const mayEnter = [...this.#line].filter(({ project }) => this.#of(project) < perProject);
    const fewest = Math.min(...mayEnter.map(({ project }) => this.#of(project)));
    return mayEnter.find(({ project }) => this.#of(project) === fewest);
  }

  #of(project: string): number {
    return this.#taken.get(project) ?? 0;
  }

  #give(project: string): void {
    const left = this.#of(project) - 1;
    assert(left >= 0, 'a place is given back once');
    if (left === 0) this.#taken.delete(project);
    else this.#taken.set(project, left);
    this.#advance();
  }
}
