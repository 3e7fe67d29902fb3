/**
 * Returns the values of `generator` and ends `source`, which it reads from, when they end. A generator alone does not
 * do that: before its first `next`, its `return` runs none of its code, not even `finally`, and the source is never
 * released.
 */
export function endsSource<Value>(
  generator: AsyncGenerator<Value>,
  source: AsyncIterator<unknown>,
): AsyncIterable<Value> {
  return {
    [Symbol.asyncIterator]: () => ({
      next: () => generator.next(),
      return: async () => {
        await generator.return(undefined);
        await source.return?.();
        return { done: true, value: undefined };
      },
    }),
  };
}
