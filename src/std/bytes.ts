/**
 * Linux file names are bytes, not text. Inside layers and archives a name is a *byte string*: a JavaScript string with
 * one character (0–255) per byte, so that splitting, comparing and map keys work and order is byte order.
 */
export type ByteString = string & { readonly __byteString?: never };

/** Returns the UTF-8 bytes of a text as a byte string. */
export function toByteString(text: string): ByteString {
  return Buffer.from(text, 'utf8').toString('latin1');
}

export function bytesOf(name: ByteString): Buffer {
  return Buffer.from(name, 'latin1');
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Returns the text of a byte string, or undefined when its bytes are not UTF-8. */
export function textOf(name: ByteString): string | undefined {
  try {
    return utf8.decode(bytesOf(name));
  } catch {
    return undefined;
  }
}

/** Returns the length of the UTF-8 character (RFC 3629 §3) that a byte begins, or 0 when it continues one. */
export function utf8Length(lead: number): number {
  if (lead < 0x80) return 1;
  if (lead < 0xc0) return 0;
  if (lead < 0xe0) return 2;
  return lead < 0xf0 ? 3 : 4;
}

/** Joins the bytes of an async iterable; refuses to hold more than `bytesMax`. */
export async function collect(source: AsyncIterable<Uint8Array>, bytesMax: number): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let total = 0;
  for await (const chunk of source) {
    total += chunk.byteLength;
    if (total > bytesMax) throw new RangeError(`more than ${bytesMax} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, total);
}
