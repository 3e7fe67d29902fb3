import { copyFile, mkdtempDisposable, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { command } from '../scripts/support/command.ts';
import { ROOT } from '../test/support/home.ts';
import type { Unpacked } from './peers/unpacked.ts';
import { samplePair, timeMs } from './support/measure.ts';
import { type Place, succeeded } from './support/place.ts';
import type { Report } from './support/report.ts';

const REPEATS = 3;
const CERTIFICATES = 'certificates.pem';
const INSTALL = 'npm ci --ignore-scripts --no-audit --no-fund --loglevel=error';

export interface NpmPlace {
  /** UUID of an image with npm. */
  readonly image: string;
  /** The same image on the host. */
  readonly native: Unpacked;
}

/** Files of this repository that `npm ci` reads, and the certificates that npm trusts on this machine. */
async function copyProject(folder: string): Promise<void> {
  for (const name of ['package.json', 'package-lock.json']) await copyFile(join(ROOT, name), join(folder, name));
  const certificates = process.env['NODE_EXTRA_CA_CERTS'] ?? '/etc/ssl/certs/ca-certificates.crt';
  await copyFile(certificates, join(folder, CERTIFICATES));
}

/** Installs the packages of this repository from the registry that npm is configured for, over the guest's network. */
export async function installPackages(place: Place, report: Report, { image, native }: NpmPlace): Promise<void> {
  await using folder = await mkdtempDisposable(join(tmpdir(), 'contree-npm-'));
  await copyProject(folder.path);
  const { packages } = JSON.parse(await readFile(join(ROOT, 'package-lock.json'), 'utf8')) as { packages: object };
  const what = `npm ci of this repository, ${Object.keys(packages).length - 1} packages (gvisor)`;
  const registry = (await command('npm', ['config', 'get', 'registry'])).trim();
  const env = { HOME: '/work', npm_config_registry: registry, NODE_EXTRA_CA_CERTS: `/work/${CERTIFICATES}` };
  const archive = join(folder.path, 'project.tar');
  await command('tar', ['-c', '-f', archive, 'package.json', 'package-lock.json', CERTIFICATES], { cwd: folder.path });
  const value = (await readFile(archive)).toString('base64');
  const ours = (sandbox: 'gvisor' | 'microvm') => async (): Promise<unknown> =>
    succeeded(
      await place.run({
        image,
        command: `tar -x && ${INSTALL}`,
        shell: true,
        cwd: '/work',
        env,
        stdin: { value, encoding: 'base64', close: true },
        networking: { mode: 'public' },
        disposable: true,
        sandbox,
        timeout: 1_800,
        resources_limits: { cpus: 2, memory_mib: 2_048 },
      }),
    );
  const beside = (): Promise<void> =>
    native.native(`cd /work; rm -rf node_modules .npm; ${INSTALL}`, { network: true, work: folder.path, env });
  try {
    const pair = await samplePair(REPEATS, ours('gvisor'), beside);
    const microvm = await timeMs(ours('microvm'));
    report.add({
      what,
      value: pair.ours.medianMs / 1_000,
      unit: 's',
      peer: `bubblewrap ${(pair.peer.medianMs / 1_000).toFixed(1)} s, microVM (${place.accelerator}) ${(microvm / 1_000).toFixed(1)} s, measured once`,
      note: `${pair.ratio.toFixed(1)} × native`,
    });
  } catch (error) {
    report.absent(what, `the registry is not reached: ${String(error).slice(0, 500)}`);
  }
}
