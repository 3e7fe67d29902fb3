import { access, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { command } from '../../scripts/support/command.ts';

/** Root filesystem that is unpacked on the host, as peers without our layers need it. */
export interface Unpacked extends AsyncDisposable {
  readonly root: string;
  /** Runs a script in bubblewrap: namespaces only, so that programs run natively. */
  native(script: string, options?: NativeOptions): Promise<void>;
  /** Runs a script with podman and Debian's runsc, in a copy of the root that is dropped. */
  podman(script: string): Promise<void>;
}

export interface NativeOptions {
  /** With the host's network. */
  readonly network?: boolean;
  /** Folder of the host that becomes `/work`; default: an empty one. */
  readonly work?: string;
  readonly env?: Readonly<Record<string, string>>;
}

const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** Debian's, whatever other runsc is on the PATH. */
const DEBIAN_RUNSC = '/usr/bin/runsc';
const PEER_MS_MAX = 900_000;

export async function unpack(tar: string): Promise<Unpacked> {
  const folder = await mkdtemp(join(tmpdir(), 'contree-unpacked-'));
  const root = join(folder, 'root');
  await mkdir(root);
  await command('tar', ['-x', '-f', tar, '-C', root, '--exclude=./dev/*']);
  const within = async (use: (work: string) => Promise<void>): Promise<void> => {
    const work = await mkdtemp(join(folder, 'work-'));
    await use(work);
    await rm(work, { recursive: true, force: true });
  };
  const native: Unpacked['native'] = (script, { network = false, work, env = {} } = {}) => {
    const start = async (used: string): Promise<void> => {
      const variables = Object.entries({ PATH, ...env }).flatMap(([name, value]) => ['--setenv', name, value]);
      const resolver = network ? ['--share-net', '--ro-bind', '/etc/resolv.conf', '/etc/resolv.conf'] : [];
      const places = ['--ro-bind', root, '/', '--dev', '/dev', '--proc', '/proc', '--tmpfs', '/tmp'];
      const own = ['--unshare-all', ...resolver, '--die-with-parent', '--clearenv', ...variables];
      const args = [...places, '--bind', used, '/work', ...own, 'sh', '-c', script];
      await command('bwrap', args, { timeout: PEER_MS_MAX });
    };
    return work === undefined ? within(start) : start(work);
  };
  return {
    root,
    native,
    podman: (script) =>
      within(async (state) => {
        const folders = { root: 'storage', runroot: 'run', tmpdir: 'tmp' };
        const own = Object.entries(folders).flatMap(([name, folder]) => [`--${name}`, join(state, folder)]);
        // Without the flag Debian's runsc asks for a network although podman made none.
        const runtime = ['--runtime', DEBIAN_RUNSC, '--runtime-flag', 'network=none'];
        const run = ['run', '--rm', '--network=none', '--rootfs', `${root}:O`, 'sh', '-c', script];
        await command('podman', [...own, ...runtime, ...run], { timeout: PEER_MS_MAX });
      }),
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  };
}

/** Returns what is missing for `podman`, as a sentence; undefined where nothing is. */
export async function missingForPodman(): Promise<string | undefined> {
  const podman = await command('podman', ['--version']).catch(() => undefined);
  const runsc = await access(DEBIAN_RUNSC).catch((error: unknown) => error);
  const missing = [...(podman === undefined ? ['podman'] : []), ...(runsc === undefined ? [] : ['runsc'])];
  return missing.length === 0 ? undefined : `not on this machine: apt-get install ${missing.join(' ')}`;
}
