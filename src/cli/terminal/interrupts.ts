import type { Cli } from '../cli.ts';
import { EXIT } from '../failure.ts';

/**
 * Signals with which a user stops a run, caught from before it is requested until it has ended. Signals that arrive
 * before anything can handle them are handled later.
 */
export class Interrupts implements Disposable {
  readonly #terminate: Disposable;
  readonly #early: ('INT' | 'TERM')[] = [];
  readonly #impatient = new AbortController();
  #act: ((name: 'INT' | 'TERM', count: number) => void) | undefined;
  #count = 0;
  /** Exit code a shell reports for the last signal, or undefined when there was none. */
  exitCode: number | undefined;

  constructor(cli: Cli) {
    cli.onInterrupt(() => this.#came('INT'));
    this.#terminate = cli.host.onSignal('SIGTERM', () => this.#came('TERM'));
  }

  /** Aborts at the second signal that arrived before anything could handle it. */
  get impatient(): AbortSignal {
    return this.#impatient.signal;
  }

  /** Calls back for every signal with the number of signals so far, earlier ones included. */
  actOn(act: (name: 'INT' | 'TERM', count: number) => void): void {
    this.#act = act;
    for (const [index, name] of this.#early.splice(0).entries()) act(name, index + 1);
  }

  [Symbol.dispose](): void {
    this.#terminate[Symbol.dispose]();
  }

  #came(name: 'INT' | 'TERM'): void {
    this.#count += 1;
    this.exitCode = name === 'INT' ? EXIT.interrupted : EXIT.terminated;
    if (this.#act !== undefined) return this.#act(name, this.#count);
    this.#early.push(name);
    if (this.#count > 1) this.#impatient.abort(new Error('interrupted'));
  }
}
