import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** A name for what belongs to the driver of one state folder: the jails carry it as their hostname. */
export function ownerOf(stateDir: string): string {
  return `contree-${createHash('sha256').update(stateDir).digest('hex').slice(0, 16)}`;
}

/** Returns the processes of the host that belong to jails of this owner: bubblewrap, and QEMU itself. */
export async function jailProcesses(owner: string): Promise<number[]> {
  const found: number[] = [];
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/u.test(name))) {
    const commandLine = await readFile(join('/proc', pid, 'cmdline'), 'latin1').catch(() => '');
    // bubblewrap, QEMU and gVisor are all given it, each as an argument of its own.
    if (commandLine.includes(`\0${owner}\0`)) found.push(Number(pid));
  }
  return found;
}

/**
 * Kills the jails that a killed engine left behind and returns how many processes that were. A jail ends with its parent,
 * unless the parent was killed while the jail was being set up: bubblewrap has not asked for its parent's death yet, or
 * QEMU has not inherited that. Only root sees the processes of others; any other user sees its own, which are the ones in
 * question.
 */
export async function endStaleVms(owner: string): Promise<number> {
  let ended = 0;
  for (const pid of await jailProcesses(owner)) {
    try {
      process.kill(pid, 'SIGKILL');
      ended += 1;
    } catch {
      // It has ended meanwhile.
    }
  }
  return ended;
}
