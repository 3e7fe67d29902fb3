import type { StreamRepr } from './run.ts';

/** Whether every byte is 32–126, tab, LF or CR (reference api.md §6.4). */
function isAscii(bytes: Uint8Array): boolean {
  for (const byte of bytes) {
    if ((byte < 32 && byte !== 9 && byte !== 10 && byte !== 13) || byte > 126) return false;
  }
  return true;
}

/** Bytes as the wire has them; with `truncated` only when that is said. */
export function streamRepr(bytes: Uint8Array, truncated?: boolean): StreamRepr {
  const encoding = isAscii(bytes) ? 'ascii' : 'base64';
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const value = buffer.toString(encoding === 'ascii' ? 'latin1' : 'base64');
  return { value, encoding, ...(truncated !== undefined && { truncated }) };
}

/** The bytes again. Text that is declared `ascii` but is not is taken as UTF-8, because clients send it so. */
export function streamBytes(repr: {
  readonly value: string;
  readonly encoding?: 'ascii' | 'base64' | undefined;
}): Buffer {
  return Buffer.from(repr.value, repr.encoding === 'base64' ? 'base64' : 'utf8');
}
