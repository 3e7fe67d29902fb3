import { readdir, readFile, readlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ownerOf } from '../../../src/sandbox/host/stale-vms.ts';
import { GUEST_DIR, jailPids } from '../microvm.ts';

/** Everything that runs of one driver might leave behind on this host, each as a sorted list. */
interface Traces {
  /** Processes in its jails or in its control groups. */
  readonly processes: readonly string[];
  /** Mounts that this process sees on or above the guest's files, or in the driver's folder. Other programs make others. */
  readonly mounts: readonly string[];
  /** Namespaces that processes are in which belong to the driver, or that descriptors of this process keep. */
  readonly namespaces: readonly string[];
  /** Control groups of single sandboxes. */
  readonly cgroups: readonly string[];
  /** Files and folders in the driver's state folder. */
  readonly files: readonly string[];
  /** Kinds of descriptors that are open in this process. */
  readonly descriptors: readonly string[];
}

const GROUPS = '/sys/fs/cgroup';
const NAMESPACE = /^(?:cgroup|ipc|mnt|net|pid|user|uts):\[/u;

/** Returns the traces of the driver of a state folder that are there now. */
export async function tracesOf(stateDir: string): Promise<Traces> {
  const owner = ownerOf(stateDir);
  // Alone, because everything else here opens descriptors, too.
  const links = await linksIn('/proc/self/fd');
  const processes = await ownProcesses(stateDir, owner);
  const inside = await Promise.all(processes.map((pid) => linksIn(`/proc/${pid}/ns`)));
  const mounts = (await readFile('/proc/self/mountinfo', 'utf8')).trim().split('\n');
  return {
    processes,
    mounts: mounts.filter((line) => isOfDriver(line, stateDir)).toSorted(),
    namespaces: [...new Set([...inside.flat(), ...links.filter((link) => NAMESPACE.test(link))])].toSorted(),
    cgroups: await groupsOf(owner),
    files: (await readdir(stateDir, { recursive: true })).toSorted(),
    descriptors: links.map((link) => link.replace(/\d+/gu, 'N')).toSorted(),
  };
}

/** A line of /proc/PID/mountinfo has its mount point in the fifth field (proc(5)). */
function isOfDriver(line: string, stateDir: string): boolean {
  return line.includes(dirname(stateDir)) || GUEST_DIR.startsWith(line.split(' ')[4] ?? '');
}

async function ownProcesses(stateDir: string, owner: string): Promise<string[]> {
  const found = new Set((await jailPids(stateDir)).map(String));
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/u.test(name))) {
    const groups = await readFile(join('/proc', pid, 'cgroup'), 'utf8').catch(() => '');
    if (groups.includes(`/${owner}/`)) found.add(pid);
  }
  return [...found].toSorted();
}

async function groupsOf(owner: string): Promise<string[]> {
  const trees = await readdir(GROUPS).catch(() => []);
  const folders = ['.', ...trees].map(async (tree) => {
    const groups = await readdir(join(GROUPS, tree, owner), { withFileTypes: true }).catch(() => []);
    return groups.filter((entry) => entry.isDirectory()).map(({ name }) => join(tree, name));
  });
  return (await Promise.all(folders)).flat().toSorted();
}

async function linksIn(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch(() => []);
  const links = await Promise.all(names.map((name) => readlink(join(folder, name)).catch(() => undefined)));
  return links.filter((link) => link !== undefined);
}
