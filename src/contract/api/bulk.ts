import { fault } from '../errors.ts';
import { limits } from '../limits.ts';

const LENGTH_BYTES = 4;

/**
 * Many small files in one body, each preceded by its length (4 bytes, big-endian). A request per file costs both sides
 * more than the file itself.
 */
export async function* frameFiles(files: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const file of files) {
    const framed = Buffer.allocUnsafe(LENGTH_BYTES + file.byteLength);
    framed.writeUInt32BE(file.byteLength);
    framed.set(file, LENGTH_BYTES);
    yield framed;
  }
}

/** Yields the files of such a body. Faults: ARGUMENT_INVALID when it is cut short, BODY_TOO_LARGE beyond the limits. */
export async function* unframeFiles(body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let rest: Buffer = Buffer.alloc(0);
  let count = 0;
  for await (const chunk of body) {
    rest = rest.byteLength === 0 ? Buffer.from(chunk) : Buffer.concat([rest, chunk]);
    let at = 0;
    for (let end = endOfFile(rest, at); end !== undefined && end <= rest.byteLength; end = endOfFile(rest, at)) {
      count += 1;
      if (count > limits.bulkFilesMax) throw fault('BODY_TOO_LARGE', { limit: limits.bulkFilesMax });
      yield rest.subarray(at + LENGTH_BYTES, end);
      at = end;
    }
    rest = rest.subarray(at);
  }
  if (rest.byteLength > 0) throw fault('ARGUMENT_INVALID', { reason: 'the body ends within a file' });
}

/** Returns the end of the file that begins at `at`; undefined while its length has not arrived. */
function endOfFile(bytes: Buffer, at: number): number | undefined {
  if (bytes.byteLength - at < LENGTH_BYTES) return undefined;
  const length = bytes.readUInt32BE(at);
  if (length > limits.bulkFileBytesMax) throw fault('BODY_TOO_LARGE', { limit: limits.bulkFileBytesMax });
  return at + LENGTH_BYTES + length;
}
