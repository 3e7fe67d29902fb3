import type { NewFile } from '../../transfer/download.ts';
import { absolutePath } from './local-transfers.ts';

/**
 * Writes a file atomically, as downloads do: it is synced to disk before it takes its name, and an existing file of
 * that name is replaced, not written into. Faults: those of `writeFileInto`; LOCAL_FILE_NOT_FOUND when the folder does not
 * exist.
 */
export async function writeWholeFile(
  path: string,
  file: Pick<NewFile, 'body' | 'size' | 'executable'>,
  signal: AbortSignal,
): Promise<void> {
  // Loaded on demand: most commands write no files.
  const [{ writeFileInto }, { Roots }] = await Promise.all([
    import('../../transfer/download.ts'),
    import('../../transfer/roots.ts'),
  ]);
  using place = new Roots(['/']).place(absolutePath(path));
  await writeFileInto(place, { ...file, overwrite: true }, signal);
}
