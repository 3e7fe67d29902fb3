import type { Cli } from '../cli.ts';
import { EXIT } from '../failure.ts';

/**
 * The signals with which a user wants a run stopped, from before it is asked for until it has ended. Those that come
 * while nobody can act on them yet are acted on later.
 */
export class Interrupts implements Disposable {
  readonly #terminate: Disposable;
  readonly #early: ('INT' | 'TERM')[] = [];
  readonly #impatient = new AbortController();
  #act: ((name: 'INT' | 'TERM', count: number) => void) | undefined;
  #count = 0;
  /** What a shell reports for the last of the signals; undefined when there was none. */
  exitCode: number | undefined;

  constructor(cli: Cli) {
    cli.onInterrupt(() => this.#came('INT'));
    this.#terminate = cli.host.onSignal('SIGTERM', () => this.#came('TERM'));
  }

  /** Aborts at the second signal that nobody could act on. */
  get impatient(): AbortSignal {
    return this.#impatient.signal;
  }

  /** Calls back for every signal, with how many there have been, those before included. */
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
