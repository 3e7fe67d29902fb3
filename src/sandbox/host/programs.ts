import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { fault } from '../../contract/errors.ts';

/** Programs that sandboxes need, each with its Debian package. */
export const PROGRAMS = {
  'qemu-system-x86_64': 'qemu-system-x86',
  bwrap: 'bubblewrap',
  mke2fs: 'e2fsprogs',
  setpriv: 'util-linux',
} as const;
export type HostProgram = keyof typeof PROGRAMS;

const PROGRAM_FOLDERS = ['/usr/bin', '/usr/sbin', '/usr/local/bin', '/usr/local/sbin', '/bin', '/sbin'];
/** Returns the fault of a host that lacks something, with the Debian packages that bring it. */
export function missing(what: readonly string[], packages: readonly string[]): Error {
  const remedy = `install it: apt-get install ${[...new Set(packages)].join(' ')}`;
  return fault('DRIVER_UNAVAILABLE', { reason: `this host lacks ${what.join(', ')}`, remedy });
}

/** Returns the paths of programs. Rejects with DRIVER_UNAVAILABLE, which names all that are missing. */
export async function findTools<Name extends HostProgram>(names: readonly Name[]): Promise<Record<Name, string>> {
  const found = await Promise.all(names.map(async (name) => [name, await findProgram(name)] as const));
  const lacking = found.filter(([, path]) => path === undefined).map(([name]) => name);
  if (lacking.length > 0)
    throw missing(
      lacking,
      lacking.map((name) => PROGRAMS[name]),
    );
  return Object.fromEntries(found) as Record<Name, string>;
}

/** Returns the program's path, or undefined when no folder of the system has it. */
async function findProgram(name: string): Promise<string | undefined> {
  const paths = PROGRAM_FOLDERS.map((folder) => join(folder, name));
  return (await existing(paths, constants.X_OK))[0];
}

/** Returns the paths that can be read, or accessed according to `mode` (access(2)). */
export async function existing(paths: readonly string[], mode: number = constants.R_OK): Promise<string[]> {
  const found = await Promise.all(
    paths.map((path) =>
      access(path, mode).then(
        () => path,
        () => undefined,
      ),
    ),
  );
  return found.filter((path) => path !== undefined);
}
