import type { NewFile } from '../../transfer/download.ts';
import { absolutePath } from './local-transfers.ts';

/**
 * Writes a file that is whole or not there, as downloads do: what had the name before is replaced, not written into, and
 * on the disk before it has the name. Faults: those of `writeFileInto`, FILE_NOT_FOUND when there is no such folder.
 */
export async function writeWholeFile(
  path: string,
  file: Pick<NewFile, 'body' | 'size' | 'executable'>,
  signal: AbortSignal,
): Promise<void> {
  // Most commands write no files and need not load this.
  const [{ writeFileInto }, { Roots }] = await Promise.all([
    import('../../transfer/download.ts'),
    import('../../transfer/roots.ts'),
  ]);
  using place = new Roots(['/']).place(absolutePath(path));
  await writeFileInto(place, { ...file, overwrite: true }, signal);
}
