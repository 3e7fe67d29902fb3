import { isFault } from '../../contract/errors.ts';
import { endsSource } from '../../std/streams.ts';

/**
 * Encodes values as NDJSON. A fault before the first value is thrown, so that it becomes a status. A later one is the
 * last line: `{"type":"failed","fault":{code,…}}`. `onError` is called for errors that are not faults.
 */
export async function streamedLines(
  values: AsyncIterable<object>,
  onError: (error: unknown) => void,
): Promise<AsyncIterable<Uint8Array>> {
  const iterator = values[Symbol.asyncIterator]();
  return endsSource(lines(iterator, await iterator.next(), onError), iterator);
}

async function* lines(
  iterator: AsyncIterator<object>,
  first: IteratorResult<object>,
  onError: (error: unknown) => void,
): AsyncGenerator<Uint8Array> {
  try {
    for (let next = first; !next.done; next = await iterator.next()) yield lineOf(next.value);
  } catch (error) {
    if (!isFault(error)) onError(error);
    yield lineOf({ type: 'failed', fault: isFault(error) ? error.toJSON() : undefined });
  } finally {
    await iterator.return?.();
  }
}

function lineOf(value: object): Uint8Array {
  return Buffer.from(`${JSON.stringify(value)}\n`);
}
