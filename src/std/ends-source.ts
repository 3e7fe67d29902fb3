/**
 * The values of `generator`, whose end is also the end of `source`, which it draws from. A generator alone does not see to
 * that: as long as nobody has asked it for a value, its `return` runs nothing of it, no `finally` either, and what the
 * source holds is held for ever.
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
