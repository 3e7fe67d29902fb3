import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { command } from '../../scripts/support/command.ts';
import { findRunsc } from '../../src/sandbox/gvisor/runsc.ts';
import { ROOT } from '../../test/support/home.ts';

/** `runsc run` of a bundle as its user calls it: no jail, limits, packet filter, queue, store, agent or channel. */
export interface BareRunsc extends AsyncDisposable {
  /** Gives the interface the addresses that the last run took from it. */
  prepare(): Promise<void>;
  run(): Promise<void>;
}

/** Form of a bundle: `same` has what runs of ours have (a root that can be written, a network, all mounts). */
export type Bundle = 'same' | 'smallest';

const MOUNTS = [
  { destination: '/dev', type: 'tmpfs', source: 'tmpfs' },
  { destination: '/dev/pts', type: 'devpts', source: 'devpts' },
  { destination: '/dev/shm', type: 'tmpfs', source: 'shm' },
  { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue' },
  { destination: '/sys', type: 'sysfs', source: 'sysfs', options: ['ro'] },
  { destination: '/sys/fs/cgroup', type: 'cgroup', source: 'cgroup', options: ['ro'] },
];
const LINK = [
  'link add eth0 type veth peer name peer',
  'link set eth0 address 02:00:00:00:00:0f',
  'link set lo up',
  'link set peer up',
];
const ADDRESSES = ['addr add 10.0.0.2/24 dev eth0', 'link set eth0 up', 'route add default via 10.0.0.1'];

/** Makes a bundle whose root is a layer that gVisor can mount and whose program is `/bin/true`. */
export async function openBareRunsc(layer: string, bundle: Bundle): Promise<BareRunsc> {
  const places = { path: process.env['PATH'] ?? '', guestDir: join(ROOT, 'guest/dist') };
  const { found: runsc } = await findRunsc(places, AbortSignal.timeout(60_000));
  const folder = await mkdtemp(join(tmpdir(), 'contree-bare-runsc-'));
  await mkdir(join(folder, 'root'));
  const same = bundle === 'same';
  await writeFile(join(folder, 'config.json'), JSON.stringify(specOf(join(folder, 'root'), layer, same)));
  const holder = await holdNamespaces();
  // As the users who cannot make network and mount namespaces without a user namespace have to.
  const inside = ['--preserve-credentials', `--target=${holder.pid}`, '--user', '--net'];
  const network = async (lines: readonly string[]): Promise<void> => {
    const batch = join(folder, 'network');
    await writeFile(batch, `${lines.join('\n')}\n`);
    await command('nsenter', [...inside, 'ip', '-batch', batch]);
  };
  if (same) await network(LINK);
  const flags = [
    '--platform=systrap',
    '--ignore-cgroups',
    '--host-uds=none',
    `--network=${same ? 'sandbox' : 'none'}`,
    `--overlay2=${same ? 'root:memory' : 'none'}`,
  ];
  let count = 0;
  return {
    prepare: async () => {
      if (same) await network(ADDRESSES);
    },
    run: async () => {
      count += 1;
      const state = `--root=${join(folder, 'state')}`;
      const bare = [runsc.path, state, ...flags, 'run', `--bundle=${folder}`, `bare-${count}`];
      const own = ['unshare', '--mount', '--pid', '--fork', '--mount-proc'];
      await command('nsenter', [...inside, ...own, ...bare]);
    },
    [Symbol.asyncDispose]: async () => {
      const gone = once(holder, 'exit');
      holder.kill('SIGKILL');
      await gone;
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function specOf(root: string, layer: string, same: boolean): object {
  return {
    ociVersion: '1.0.0',
    process: { user: { uid: 0, gid: 0 }, args: ['/bin/true'], env: ['PATH=/usr/bin:/bin'], cwd: '/' },
    root: { path: root, readonly: !same },
    mounts: [{ destination: '/proc', type: 'proc', source: 'proc' }, ...(same ? MOUNTS : [])],
    annotations: { 'dev.gvisor.spec.rootfs.type': 'erofs', 'dev.gvisor.spec.rootfs.source': layer },
    linux: {
      namespaces: [
        ...['pid', 'mount', 'ipc', 'uts'].map((type) => ({ type })),
        { type: 'network', path: '/proc/self/ns/net' },
      ],
    },
  };
}

/** Returns a process that keeps a user namespace and a network namespace. */
async function holdNamespaces(): Promise<ChildProcess> {
  const own = ['--user', '--map-root-user', '--net', 'sh', '-c', 'echo; exec sleep 86400'];
  const holder = spawn('unshare', own, { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(holder.stdout, 'data');
  return holder;
}
