/**
 * Returns a stream that holds something until it is read to its end or left; when it cannot be opened nothing is held any
 * more.
 */
export async function whileHeld(
  held: Disposable,
  open: () => Promise<AsyncIterable<Uint8Array>>,
): Promise<AsyncGenerator<Uint8Array>> {
  try {
    return streamed(held, await open());
  } catch (error) {
    held[Symbol.dispose]();
    throw error;
  }
}

async function* streamed(held: Disposable, content: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  using _held = held;
  yield* content;
}
