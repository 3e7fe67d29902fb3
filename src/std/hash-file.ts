import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';

const BUFFER_BYTES = 512 * 1024;

/**
 * Returns the sha256 (hex) of a file's content. One buffer serves the whole file, so hashing gigabytes leaves no
 * garbage.
 */
export async function hashFile(path: string, signal?: AbortSignal): Promise<string> {
  await using file = await open(path, 'r');
  const hash = createHash('sha256');
  const buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
  for (;;) {
    signal?.throwIfAborted();
    const { bytesRead } = await file.read(buffer, 0, buffer.length, null);
    if (bytesRead === 0) return hash.digest('hex');
    hash.update(buffer.subarray(0, bytesRead));
  }
}
