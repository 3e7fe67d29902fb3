import { readdir, readFile, readlink } from 'node:fs/promises';
import { jailPids } from '../../test/support/microvm.ts';

/**
 * Returns the memory of the host in MiB that the jails of a driver take: of each process its own, and its share of what
 * it has in common with others (`Pss`, proc_pid_smaps(5)).
 */
export async function memoryOfJails(stateDir: string): Promise<number> {
  const space = (pid: string): Promise<string> => readlink(`/proc/${pid}/ns/pid`).catch(() => '');
  const known = new Set((await jailPids(stateDir)).map(String));
  const own = await space('self');
  const spaces = new Set(await Promise.all([...known].map(space)));
  let kib = 0;
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/u.test(name))) {
    const place = await space(pid);
    if (!known.has(pid) && (place === own || !spaces.has(place))) continue;
    const summary = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8').catch(() => '');
    kib += Number(/^Pss:\s+(\d+)/mu.exec(summary)?.[1] ?? 0);
  }
  return kib / 1024;
}
