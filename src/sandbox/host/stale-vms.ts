import { createHash } from 'node:crypto';
import { readdir, readFile, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { groupsLeft, removeTrees } from './cgroup.ts';

/** Returns the name of the driver of one state folder, which its jails have as their hostname. */
export function ownerOf(stateDir: string): string {
  return `contree-${createHash('sha256').update(stateDir).digest('hex').slice(0, 16)}`;
}

/** Returns the processes of the host that belong to jails of this owner: bubblewrap, and QEMU itself. */
export async function jailProcesses(owner: string): Promise<number[]> {
  const found: number[] = [];
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/u.test(name))) {
    const commandLine = await readFile(join('/proc', pid, 'cmdline'), 'latin1').catch(() => '');
    // bubblewrap, QEMU and gVisor all get it as a separate argument.
    if (commandLine.includes(`\0${owner}\0`)) found.push(Number(pid));
  }
  return found;
}

/**
 * Kills the jails that a killed engine left behind and returns the number of their processes. A jail ends with its parent,
 * unless the parent was killed during the setup of the jail, before bubblewrap or QEMU was set to end with it. Only root
 * sees the processes of other users; any other user sees its own, which are the relevant ones.
 */
export async function endStaleVms(owner: string): Promise<number> {
  let ended = 0;
  for (const pid of await jailProcesses(owner)) {
    try {
      process.kill(pid, 'SIGKILL');
      ended += 1;
    } catch {
      // It has ended in the meantime.
    }
  }
  return ended;
}

/**
 * Ends what a killed engine left of the driver of this state folder, and removes its control groups, which tell that there may
 * be something. Called before the driver is used, which may be long after.
 */
export async function clearRemains(stateDir: string): Promise<void> {
  const owner = ownerOf(await realpath(stateDir));
  const groups = await groupsLeft(owner);
  if (groups.length === 0) return;
  await endStaleVms(owner);
  await removeTrees(groups);
}
