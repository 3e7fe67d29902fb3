import { access, mkdir, readdir, readFile, rmdir, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pause } from '../../std/abort.ts';

const MOUNT = '/sys/fs/cgroup';
const CONTROLLERS = ['memory', 'cpu', 'pids'] as const;
type Controller = (typeof CONTROLLERS)[number];
/** Limit of tasks: threads of QEMU, or the processes with which a gVisor sandbox runs those of its guest. */
export const PROCESSES_MAX = { microvm: 256, gvisor: 16_384 } as const;
const PERIOD_US = 100_000;
/** Share of one thread, in v1 and in v2. */
const SHARES = 1_024;
const WEIGHT = 100;
const MIB = 1024 ** 2;
/** Type of a file system in memory (statfs(2)). */
const TMPFS_MAGIC = 0x0102_1994;
/** File that moves its writer into a group. In v1, `tasks` moves a single thread, for which the kernel waits for no other. */
const ENTRANCE = { 1: 'tasks', 2: 'cgroup.procs' } as const;
const REMOVE_TRIES = 50;
const REMOVE_PAUSE_MS = 10;

/** A tree of groups, and the settings of a group in it. */
interface Hierarchy {
  readonly mount: string;
  readonly controllers: readonly Controller[];
  readonly version: 1 | 2;
}

/**
 * Limits on the resources of a microVM by control groups, which can be made as root on a host that delegates the
 * controllers. The driver has a group with a subgroup for each microVM. In cgroup v1, where each controller has a separate
 * tree, it has one in each tree (Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/ of the kernel).
 */
export class Cgroups implements AsyncDisposable {
  readonly #owner: string;
  readonly #hierarchies: readonly Hierarchy[];
  readonly #disksInMemory: boolean;
  #count = 0;

  private constructor(owner: string, hierarchies: readonly Hierarchy[], disksInMemory: boolean) {
    this.#owner = owner;
    this.#hierarchies = hierarchies;
    this.#disksInMemory = disksInMemory;
  }

  /**
   * Returns undefined where limits cannot be set. Removes groups that a killed engine left. `disks` is the folder of the
   * microVMs' disks: on a tmpfs their content is memory, which is charged to the writer.
   */
  static async open(owner: string, disks: string, mount: string = MOUNT): Promise<Cgroups | undefined> {
    const disksInMemory = (await statfs(disks)).type === TMPFS_MAGIC;
    for (const hierarchies of [unified(mount), separate(mount)]) {
      const cgroups = new Cgroups(owner, hierarchies, disksInMemory);
      try {
        for (const hierarchy of hierarchies) await prepare(hierarchy, owner);
        return cgroups;
      } catch {
        await cgroups[Symbol.asyncDispose]();
      }
    }
    return undefined;
  }

  /** Makes a group for a microVM that may write `diskBytes`. Its processes must have ended when it is disposed of. */
  async create(size: Size, diskBytes: number, processesMax: number = PROCESSES_MAX.microvm): Promise<Cgroup> {
    const bounds = { ...size, processesMax, diskMemoryBytes: this.#disksInMemory ? diskBytes : 0 };
    this.#count += 1;
    const name = String(this.#count);
    const made: string[] = [];
    try {
      for (const { mount, controllers, version } of this.#hierarchies) {
        const folder = join(mount, this.#owner, name);
        await mkdir(folder);
        made.push(folder);
        for (const [setting, value] of controllers.flatMap((controller) => SETTINGS[version][controller](bounds))) {
          await writeFile(join(folder, setting), value);
        }
      }
    } catch (error) {
      await removeTrees(made);
      throw error;
    }
    return new Cgroup(
      made,
      this.#hierarchies.map(({ version }, index) => join(made[index] ?? '', ENTRANCE[version])),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await removeTrees(this.#hierarchies.map(({ mount }) => join(mount, this.#owner)));
  }
}

/** One microVM's group: its folders, one for each tree. */
export class Cgroup implements AsyncDisposable {
  /** Files to which a process writes `0` to join, before it starts any other. */
  readonly entrances: readonly string[];
  readonly #folders: readonly string[];

  constructor(folders: readonly string[], entrances: readonly string[]) {
    this.#folders = folders;
    this.entrances = entrances;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await removeTrees(this.#folders);
  }
}

/** Returns the groups of a driver in all trees. There are none once its engine has stopped, unless it was killed. */
export async function groupsLeft(owner: string, mount: string = MOUNT): Promise<readonly string[]> {
  const folders = [...unified(mount), ...separate(mount)].map((hierarchy) => join(hierarchy.mount, owner));
  const found = folders.map((folder) =>
    access(folder).then(
      () => [folder],
      () => [],
    ),
  );
  return (await Promise.all(found)).flat();
}

function unified(mount: string): readonly Hierarchy[] {
  return [{ mount, controllers: CONTROLLERS, version: 2 }];
}

function separate(mount: string): readonly Hierarchy[] {
  return CONTROLLERS.map((name) => ({ mount: join(mount, name), controllers: [name], version: 1 }));
}

/** Makes the driver's group. Rejects where this host has no such tree or forbids it. */
async function prepare({ mount, controllers, version }: Hierarchy, owner: string): Promise<void> {
  const folder = join(mount, owner);
  if (version === 2) {
    const handedDown = (await readFile(join(mount, 'cgroup.subtree_control'), 'utf8')).split(/\s+/u);
    if (!controllers.every((name) => handedDown.includes(name))) throw new Error('a controller is not handed down');
  } else {
    // The trees are mounted on a tmpfs, in which any folder can be made; only a tree has this file.
    await access(join(mount, 'cgroup.procs'));
  }
  await removeTree(folder);
  await mkdir(folder);
  if (version === 1) return;
  await writeFile(join(folder, 'cgroup.subtree_control'), controllers.map((name) => `+${name}`).join(' '));
}

/** Resources that a guest may use, and memory of the sandbox itself. */
export interface Size {
  readonly cpus: number;
  readonly memoryMib: number;
  readonly overheadMib: number;
}

type Setting = readonly [file: string, value: string];

/** Returns the number of threads that the CPU share is for. By default a group counts as a single thread. */
function threads({ cpus }: Size): number {
  return cpus + 1;
}

/** Returns the CPU limit: the guest's processors, and half of one for QEMU's own threads. */
function quotaUs({ cpus }: Size): number {
  return Math.round((cpus + 0.5) * PERIOD_US);
}

interface Bounds extends Size {
  /** Memory of the host that its disk may take. */
  readonly diskMemoryBytes: number;
  readonly processesMax: number;
}

/**
 * Returns the memory limit, which is based on twice the guest's memory: a page that the template never had is first allocated
 * in the template's file, charged to the run that touches it, and then copied.
 */
function memoryBytes({ memoryMib, overheadMib, diskMemoryBytes }: Bounds): string {
  return String((2 * memoryMib + overheadMib) * MIB + diskMemoryBytes);
}

const SETTINGS: Readonly<Record<1 | 2, Readonly<Record<Controller, (bounds: Bounds) => readonly Setting[]>>>> = {
  1: {
    memory: (bounds) => [['memory.limit_in_bytes', memoryBytes(bounds)]],
    cpu: (bounds) => [
      ['cpu.cfs_period_us', String(PERIOD_US)],
      ['cpu.cfs_quota_us', String(quotaUs(bounds))],
      ['cpu.shares', String(SHARES * threads(bounds))],
    ],
    pids: ({ processesMax }) => [['pids.max', String(processesMax)]],
  },
  2: {
    memory: (bounds) => [['memory.max', memoryBytes(bounds)]],
    cpu: (bounds) => [
      ['cpu.max', `${quotaUs(bounds)} ${PERIOD_US}`],
      ['cpu.weight', String(WEIGHT * threads(bounds))],
    ],
    pids: ({ processesMax }) => [['pids.max', String(processesMax)]],
  },
};

/** Removes groups whose processes have ended, with those below them. */
export async function removeTrees(folders: readonly string[]): Promise<void> {
  await Promise.all(folders.map(removeTree));
}

/** Removes a group. Retries, because the kernel refuses while a killed process has not left it completely. */
async function removeTree(folder: string): Promise<void> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  for (const entry of entries) if (entry.isDirectory()) await removeTree(join(folder, entry.name));
  for (let tries = 0; tries < REMOVE_TRIES; tries += 1) {
    const error = await rmdir(folder).then(
      () => undefined,
      (reason: unknown) => reason as NodeJS.ErrnoException,
    );
    if (error?.code !== 'EBUSY') return;
    await pause(REMOVE_PAUSE_MS);
  }
}
