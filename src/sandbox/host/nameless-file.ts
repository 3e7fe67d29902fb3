import { randomUUID } from 'node:crypto';
import { open, rm, writeFile, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { makeFolders } from '../../std/files.ts';

/**
 * Makes a file that disappears when its last descriptor is closed, so a crash leaves nothing behind. QEMU requires exactly the
 * mode that it requests. Even the owner cannot reopen a file for reading to write it, as long as it may not change the mode.
 */
export async function namelessFile(folder: string, mode: 'r' | 'r+', content: Uint8Array): Promise<FileHandle> {
  // Something may have cleaned up while the engine ran.
  await makeFolders(folder, 0o700);
  const path = join(folder, randomUUID());
  try {
    await writeFile(path, content, { flag: 'wx', mode: mode === 'r' ? 0o400 : 0o600 });
    return await open(path, mode);
  } finally {
    await rm(path, { force: true });
  }
}
