import { cp, readFile, readdir, rm } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { command } from '../../scripts/support/command.ts';

const FOLDER = new URL('./corpus/', import.meta.url).pathname;
/** Files of a case with instructions for this program, which its context does not have. */
const ABOUT = ['options', 'prepare', 'peerignore'];

/** One Dockerfile of the corpus with its context, ready to be built. */
export interface BuildCase {
  readonly name: string;
  readonly context: string;
  /** Options of the build, alike for both programs; files in them are relative to the context. */
  readonly options: readonly string[];
  /** Options of buildah, where it needs others: for what it does not know, there is an equal `Dockerfile.peer`. */
  readonly peerOptions: readonly string[];
}

/** Returns the names of all cases. */
export async function caseNames(): Promise<string[]> {
  const entries = await readdir(FOLDER, { withFileTypes: true });
  return entries
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name)
    .toSorted();
}

/**
 * Copies a case to a folder, and runs its `prepare` there: it makes what git does not keep, as modes, links and archives.
 */
export async function prepareCase(name: string, folder: string): Promise<BuildCase> {
  const source = join(FOLDER, name);
  const context = join(folder, name);
  await cp(source, context, { recursive: true, verbatimSymlinks: true });
  if (existsSync(join(source, 'prepare'))) await command('sh', ['-eu', 'prepare'], { cwd: context });
  const given = existsSync(join(source, 'options')) ? await readFile(join(source, 'options'), 'utf8') : '';
  const options = given.split(/\s+/u).filter((word) => word !== '');
  const ignored = existsSync(join(source, 'peerignore')) ? await readFile(join(source, 'peerignore')) : undefined;
  const peer = existsSync(join(source, 'Dockerfile.peer')) ? ['-f', 'Dockerfile.peer'] : [];
  for (const file of ABOUT) await rm(join(context, file), { force: true });
  const peerOptions = [
    ...options,
    ...peer,
    ...(ignored === undefined ? [] : ['--ignorefile', join(source, 'peerignore')]),
  ];
  return { name, context, options, peerOptions };
}
