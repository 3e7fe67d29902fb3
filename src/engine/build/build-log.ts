import { SPID_INIT } from '../../contract/event.ts';
import { limits } from '../../contract/limits.ts';
import type { ProjectStore } from '../../store/project-store.ts';

/**
 * Lines of a build in the log of its operation: those of process 0 say what happens, and processes are numbered as the
 * steps that run them.
 */
export class BuildLog {
  readonly #store: ProjectStore;
  readonly #operation: string;
  #offset = 0;
  #steps = 0;

  constructor(store: ProjectStore, operation: string) {
    this.#store = store;
    this.#operation = operation;
  }

  /** Returns the number of a new step. */
  step(): number {
    this.#steps += 1;
    return this.#steps;
  }

  /** Writes one line, for example `#4 [build 2/5] RUN make`. */
  line(text: string): void {
    const bytes = Buffer.from(`${text.replaceAll(/\s*\n\s*/gu, ' ↵ ').slice(0, limits.commandCharactersListed)}\n`);
    this.#store.events.appendOutput(this.#operation, {
      spid: SPID_INIT,
      stream: 'stdout',
      offset: this.#offset,
      bytes,
    });
    this.#offset += bytes.byteLength;
  }
}
