import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { command } from '../../scripts/support/command.ts';
import { findRunsc } from '../../src/sandbox/gvisor/runsc.ts';
import { ROOT } from '../../test/support/home.ts';

/** `runsc run` of a bundle as its user calls it: no jail, network, queue, store, agent or channel. */
export interface BareRunsc extends AsyncDisposable {
  run(): Promise<void>;
}

/** Makes a bundle whose root is a layer that gVisor can mount and whose program is `/bin/true`. */
export async function openBareRunsc(layer: string): Promise<BareRunsc> {
  const places = { path: process.env['PATH'] ?? '', guestDir: join(ROOT, 'guest/dist') };
  const { found: runsc } = await findRunsc(places, AbortSignal.timeout(60_000));
  const folder = await mkdtemp(join(tmpdir(), 'contree-bare-runsc-'));
  await mkdir(join(folder, 'root'));
  const config = {
    ociVersion: '1.0.0',
    process: { user: { uid: 0, gid: 0 }, args: ['/bin/true'], env: ['PATH=/usr/bin:/bin'], cwd: '/' },
    root: { path: join(folder, 'root'), readonly: true },
    mounts: [{ destination: '/proc', type: 'proc', source: 'proc' }],
    annotations: { 'dev.gvisor.spec.rootfs.type': 'erofs', 'dev.gvisor.spec.rootfs.source': layer },
    linux: {
      namespaces: [
        ...['pid', 'mount', 'ipc', 'uts'].map((type) => ({ type })),
        { type: 'network', path: '/proc/self/ns/net' },
      ],
    },
  };
  await writeFile(join(folder, 'config.json'), JSON.stringify(config));
  const flags = ['--platform=systrap', '--network=none', '--ignore-cgroups', '--host-uds=none', '--overlay2=none'];
  let count = 0;
  return {
    run: async () => {
      count += 1;
      const state = `--root=${join(folder, 'state')}`;
      const bare = [runsc.path, state, ...flags, 'run', `--bundle=${folder}`, `bare-${count}`];
      // As the users who cannot make network and mount namespaces without a user namespace have to.
      const own = ['--user', '--map-root-user', '--net', '--mount', '--pid', '--fork', '--mount-proc'];
      await command('unshare', [...own, ...bare]);
    },
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  };
}
