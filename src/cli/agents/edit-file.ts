import { lstat, mkdir, readFile, readlink, realpath, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import type { Stats } from 'node:fs';
import { fault } from '../../contract/errors.ts';
import { writeFileAtomically } from '../../std/files.ts';

/** Size limit of an agent's file; some agents keep their history in it. */
const FILE_BYTES_MAX = 64 * 1024 * 1024;

/**
 * Edits a file of another program in one step, through a symlink if it is one, and keeps its permissions and owner.
 * Returns true when anything changed. Faults: AGENT_FILE_INVALID when the edit is impossible; the file is then
 * untouched.
 */
export async function editFile(file: string, edit: (text: string) => string): Promise<boolean> {
  try {
    const target = await targetOf(file);
    const stats = await stat(target).catch(ifMissing);
    const before = stats === undefined ? '' : await textOf(target, stats);
    const after = edit(before);
    if (after === before) return false;
    await mkdir(dirname(target), { recursive: true });
    const owner = stats !== undefined && process.getuid?.() === 0 && { owner: { uid: stats.uid, gid: stats.gid } };
    // A new file is readable by its owner only: agents keep secrets there.
    await writeFileAtomically(target, after, { mode: stats === undefined ? 0o600 : stats.mode & 0o777, ...owner });
    return true;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw fault('AGENT_FILE_INVALID', { file, reason }, { cause: error });
  }
}

async function textOf(path: string, stats: Stats): Promise<string> {
  if (!stats.isFile()) throw new Error('it is not a file');
  if (stats.size > FILE_BYTES_MAX) throw new Error(`it is larger than ${FILE_BYTES_MAX} bytes`);
  return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(await readFile(path));
}

/**
 * Resolves a symlink even if its target does not exist yet: replacing the link would detach it from the dotfiles it
 * belongs to.
 */
async function targetOf(file: string): Promise<string> {
  const link = await lstat(file).catch(ifMissing);
  if (link?.isSymbolicLink() !== true) return file;
  return (await realpath(file).catch(ifMissing)) ?? resolve(dirname(file), await readlink(file));
}

function ifMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error;
}
