import { randomUUID } from 'node:crypto';
import { open, rm, writeFile, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';

/** A file that is gone as soon as nobody holds it: a crash leaves nothing behind. QEMU insists on the exact mode it asks for. */
export async function namelessFile(folder: string, mode: 'r' | 'r+', content: Uint8Array): Promise<FileHandle> {
  const path = join(folder, randomUUID());
  try {
    await writeFile(path, content, { flag: 'wx', mode: 0o600 });
    return await open(path, mode);
  } finally {
    await rm(path, { force: true });
  }
}
