import { mkdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { command } from './command.ts';

/** Packs the npm package into a folder and returns the path of the tarball. */
export async function packed(folder: string): Promise<string> {
  const printed = await command('npm', ['pack', '--silent', '--pack-destination', folder]);
  return join(folder, printed.trim().split('\n').at(-1) ?? '');
}

/** Unpacks the content of an npm tarball into a new folder. */
export async function unpack(tarball: string, folder: string): Promise<void> {
  await mkdir(folder);
  await command('tar', ['-xzf', resolve(tarball), '-C', folder, '--strip-components=1']);
}
