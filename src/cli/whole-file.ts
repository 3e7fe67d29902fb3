import { randomUUID } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { fault } from '../contract/errors.ts';

/**
 * Writes a file that is whole or not there. What had the name before is replaced, not written into: a symlink that
 * somebody left there leads nowhere. Faults: ARGUMENT_INVALID when the place cannot be written.
 */
export async function writeWholeFile(
  path: string,
  body: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
  mode = 0o666,
): Promise<void> {
  const temporary = `${path}.${randomUUID().slice(0, 8)}.part`;
  try {
    await pipeline(body, createWriteStream(temporary, { flags: 'wx', mode }), { signal });
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    const { syscall, code } = error as NodeJS.ErrnoException;
    if (syscall === 'open' || syscall === 'rename' || code === 'ENOSPC') {
      throw fault(
        'ARGUMENT_INVALID',
        { reason: `cannot write ${path}: ${(error as Error).message}` },
        { cause: error },
      );
    }
    throw error;
  }
}
