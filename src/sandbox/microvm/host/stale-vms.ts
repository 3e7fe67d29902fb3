import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** A name for what belongs to the driver of one state folder: the jails carry it as their hostname. */
export function ownerOf(stateDir: string): string {
  return `contree-${createHash('sha256').update(stateDir).digest('hex').slice(0, 16)}`;
}

/**
 * Kills the jails that a killed engine left and returns how many. They end with their parent by themselves, but for one that was being set up in that very
 * moment. Only root sees the processes of others; anybody else sees his own, which are the ones in question.
 */
export async function endStaleVms(owner: string): Promise<number> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/u.test(name));
  let ended = 0;
  for (const pid of pids) {
    const commandLine = await readFile(join('/proc', pid, 'cmdline'), 'latin1').catch(() => '');
    if (!commandLine.includes(`\0--hostname\0${owner}\0`)) continue;
    try {
      process.kill(Number(pid), 'SIGKILL');
      ended += 1;
    } catch {
      // It has ended meanwhile.
    }
  }
  return ended;
}
