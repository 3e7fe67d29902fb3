import { randomUUID } from 'node:crypto';
import { open, rm, writeFile, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * A file that is gone as soon as nobody holds it: a crash leaves nothing behind. QEMU insists on the exact mode it asks for;
 * one for reading cannot be opened anew for writing even by its owner, as long as he may not change its mode.
 */
export async function namelessFile(folder: string, mode: 'r' | 'r+', content: Uint8Array): Promise<FileHandle> {
  const path = join(folder, randomUUID());
  try {
    await writeFile(path, content, { flag: 'wx', mode: mode === 'r' ? 0o400 : 0o600 });
    return await open(path, mode);
  } finally {
    await rm(path, { force: true });
  }
}
