import { closeSync, openSync, readSync } from 'node:fs';

/** Size above which a table is not read; such a table has some ten thousand routes. */
export const TABLE_BYTES_MAX = 4 * 1024 * 1024;
const CHUNK_BYTES = 64 * 1024;

/** Returns the text of a table in `/proc/net`: empty on a kernel without it, undefined when it is larger than `bytesMax`. */
export function readKernelTable(path: string, bytesMax: number = TABLE_BYTES_MAX): string | undefined {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch {
    return '';
  }
  try {
    const chunks: Buffer[] = [];
    for (let bytes = 0; bytes <= bytesMax;) {
      const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
      const count = readSync(file, chunk);
      if (count === 0) return Buffer.concat(chunks, bytes).toString('latin1');
      chunks.push(chunk.subarray(0, count));
      bytes += count;
    }
    return undefined;
  } finally {
    closeSync(file);
  }
}
