/**
 * Installs the run-time parts of explicit resource management that Node 22 lacks (ECMA-262 §27.4,
 * `AsyncDisposableStack` and `SuppressedError`); the published build has the syntax lowered. It must run before any
 * code that uses the two.
 */
export function provideDisposableStack(): void {
  Object.assign(globalThis, {
    AsyncDisposableStack: AsyncDisposableStackPolyfill,
    SuppressedError: SuppressedErrorPolyfill,
  });
}

/** Polyfill of `SuppressedError`: the error of a cleanup, and the error it would have hidden. */
export class SuppressedErrorPolyfill extends Error {
  override readonly name = 'SuppressedError';
  readonly error: unknown;
  readonly suppressed: unknown;

  constructor(error: unknown, suppressed: unknown, message?: string) {
    super(message);
    this.error = error;
    this.suppressed = suppressed;
  }
}

type Step = () => unknown;

/** Polyfill of `AsyncDisposableStack`: runs the added cleanups once, in reverse order. */
export class AsyncDisposableStackPolyfill implements AsyncDisposableStack {
  readonly [Symbol.toStringTag] = 'AsyncDisposableStack';
  #steps: Step[] | undefined = [];

  get disposed(): boolean {
    return this.#steps === undefined;
  }

  use<T extends AsyncDisposable | Disposable | null | undefined>(value: T): T {
    const steps = this.#open();
    if (value === null || value === undefined) return value;
    const methods = value as Partial<AsyncDisposable & Disposable>;
    const later = methods[Symbol.asyncDispose];
    const now = methods[Symbol.dispose];
    if (typeof (later ?? now) !== 'function') throw new TypeError('the value has no dispose method');
    // The result of a synchronous method is not awaited.
    steps.push(later ? () => later.call(value) : () => (now?.call(value), undefined));
    return value;
  }

  adopt<T>(value: T, dispose: (value: T) => PromiseLike<void> | void): T {
    this.#open().push(() => dispose(value));
    return value;
  }

  defer(dispose: () => PromiseLike<void> | void): void {
    this.#open().push(dispose);
  }

  move(): AsyncDisposableStack {
    const moved = new AsyncDisposableStackPolyfill();
    moved.#steps = this.#open();
    this.#steps = undefined;
    return moved;
  }

  async disposeAsync(): Promise<void> {
    const steps = this.#steps ?? [];
    this.#steps = undefined;
    let failure: { readonly error: unknown } | undefined;
    for (const step of steps.toReversed()) {
      try {
        await step();
      } catch (error) {
        failure = { error: failure ? new SuppressedErrorPolyfill(error, failure.error) : error };
      }
    }
    if (failure) throw failure.error;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.disposeAsync();
  }

  #open(): Step[] {
    if (this.#steps === undefined) throw new ReferenceError('the stack is disposed');
    return this.#steps;
  }
}
