const CHUNK_CHARACTERS = 64 * 1024;

/** Yields values as NDJSON, one JSON text per line, for lists that are too long for one value. */
// oxlint-disable-next-line typescript/require-await -- readers take an async iterable at their own pace
export async function* jsonLines(values: readonly unknown[]): AsyncGenerator<Uint8Array> {
  let lines = '';
  for (const value of values) {
    lines += `${JSON.stringify(value)}\n`;
    if (lines.length < CHUNK_CHARACTERS) continue;
    yield Buffer.from(lines);
    lines = '';
  }
  if (lines !== '') yield Buffer.from(lines);
}

/** Yields the non-empty lines of a body. Rejects with RangeError when a line is longer than `bytesMax`. */
export async function* linesOf(body: AsyncIterable<Uint8Array>, bytesMax: number): AsyncGenerator<string> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of body) {
    const bytes = rest.byteLength === 0 ? Buffer.from(chunk) : Buffer.concat([rest, chunk]);
    let at = 0;
    for (let end = bytes.indexOf(10); end !== -1; end = bytes.indexOf(10, at)) {
      if (end - at > bytesMax) throw new RangeError(`a line is longer than ${bytesMax} bytes`);
      if (end > at) yield bytes.toString('utf8', at, end);
      at = end + 1;
    }
    rest = bytes.subarray(at);
    if (rest.byteLength > bytesMax) throw new RangeError(`a line is longer than ${bytesMax} bytes`);
  }
  if (rest.byteLength > 0) yield rest.toString('utf8');
}
