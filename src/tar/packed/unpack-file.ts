import { closeSync, openSync, readSync } from 'node:fs';
import { fault } from '../../contract/errors.ts';
import type { ReadPiece } from './read-piece.ts';

const PIECE_BYTES = 64 * 1024;

/** Formats that are unpacked by code that blocks its thread. */
export type PackedFormat = 'bzip2' | 'xz';

/** Yields the plain bytes of a packed file; for a thread of its own. Faults: LAYER_MALFORMED. */
export async function* unpackFile(path: string, format: PackedFormat): AsyncGenerator<Uint8Array> {
  const file = openSync(path, 'r');
  const read: ReadPiece = () => {
    const piece = Buffer.alloc(PIECE_BYTES);
    const bytes = readSync(file, piece);
    return bytes === 0 ? undefined : piece.subarray(0, bytes);
  };
  try {
    // Loaded on demand: most threads unpack nothing.
    if (format === 'xz') yield* (await import('./xz.ts')).unpackXz(read);
    else yield* (await import('./bzip2.ts')).unpackBzip2(read);
  } catch (error) {
    const reason = `${format} data: ${error instanceof Error ? error.message : String(error)}`;
    throw fault('LAYER_MALFORMED', { reason }, { cause: error });
  } finally {
    closeSync(file);
  }
}
