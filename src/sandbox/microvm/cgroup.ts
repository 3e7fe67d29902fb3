import { mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { type Machine, OVERHEAD_MIB } from './machine.ts';

const MOUNT = '/sys/fs/cgroup';
const CONTROLLERS = ['memory', 'cpu', 'pids'] as const;
const PROCESSES_MAX = 256;
const PERIOD_US = 100_000;
const MIB = 1024 ** 2;
const REMOVE_TRIES = 50;
const REMOVE_PAUSE_MS = 10;

/**
 * Limits on what a microVM takes from the host, by control groups (cgroup v2), where we may make some: as root, on a host that
 * hands the controllers down. One group per driver, one in it per microVM.
 */
export class Cgroups implements AsyncDisposable {
  readonly #folder: string;
  #count = 0;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  /** undefined where limits cannot be set. Groups that a killed engine left are removed. */
  static async open(owner: string, mount: string = MOUNT): Promise<Cgroups | undefined> {
    const folder = join(mount, owner);
    try {
      const handedDown = await readFile(join(mount, 'cgroup.subtree_control'), 'utf8');
      if (!CONTROLLERS.every((name) => handedDown.split(/\s+/u).includes(name))) return undefined;
      await removeTree(folder);
      await mkdir(folder);
      await writeFile(join(folder, 'cgroup.subtree_control'), CONTROLLERS.map((name) => `+${name}`).join(' '));
      return new Cgroups(folder);
    } catch {
      return undefined;
    }
  }

  /** A new group for a microVM. Its processes must be gone when it is disposed of. */
  async create({ memoryMib, cpus }: Machine): Promise<Cgroup> {
    this.#count += 1;
    const folder = join(this.#folder, String(this.#count));
    await mkdir(folder);
    // One more than the guest has processors, half of it used: QEMU's own threads.
    const quotaUs = Math.round((cpus + 0.5) * PERIOD_US);
    const settings = {
      'memory.max': String((memoryMib + OVERHEAD_MIB) * MIB),
      'cpu.max': `${quotaUs} ${PERIOD_US}`,
      'pids.max': String(PROCESSES_MAX),
    };
    for (const [name, value] of Object.entries(settings)) await writeFile(join(folder, name), value);
    return new Cgroup(folder);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await removeTree(this.#folder);
  }
}

export class Cgroup implements AsyncDisposable {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** Moves processes in; their children follow only if they start later. */
  async add(pids: readonly number[]): Promise<void> {
    for (const pid of pids) await writeFile(join(this.#folder, 'cgroup.procs'), String(pid));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await removeTree(this.#folder);
  }
}

/** The kernel refuses while a process that was killed has not quite left. */
async function removeTree(folder: string): Promise<void> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  for (const entry of entries) if (entry.isDirectory()) await removeTree(join(folder, entry.name));
  for (let tries = 0; tries < REMOVE_TRIES; tries += 1) {
    const error = await rmdir(folder).then(
      () => undefined,
      (reason: unknown) => reason as NodeJS.ErrnoException,
    );
    if (error?.code !== 'EBUSY') return;
    await wait(REMOVE_PAUSE_MS);
  }
}
