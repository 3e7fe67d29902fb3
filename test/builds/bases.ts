import { cp, copyFile, mkdir, symlink, chmod, readdir } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { command } from '../../scripts/support/command.ts';
import type { Buildah } from './buildah.ts';

const ROOT = new URL('./bases/', import.meta.url).pathname;
const DOCKERFILES = join(ROOT, 'dockerfiles');
const PATH = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** Packages of the Debian base: what the corpus runs that no stub can stand for. */
const PACKAGES = 'python3-minimal,gcc,libc6-dev,make';
const LEFT_OUT = ['doc', 'man', 'locale', 'info'].map((name) => `--dpkgopt=path-exclude=/usr/share/${name}/*`);

/** Base images: archives of those that have no Dockerfile, and folders of those that have one, each by its name. */
export interface Bases {
  readonly archives: ReadonlyMap<string, string>;
  readonly folders: ReadonlyMap<string, string>;
}

/** Makes the base images for buildah, and what others need to make them. `cache` keeps the Debian system between runs. */
export async function makeBases(buildah: Buildah, folder: string, cache: string): Promise<Bases> {
  const roots = [
    ['busybox:1', await busyboxRoot(folder), '["sh"]'],
    ['debian:12-slim', await debianRoot(folder, cache), '["bash"]'],
  ] as const;
  const archives = new Map<string, string>();
  for (const [name, root, cmd] of roots) {
    await buildah.imageOf(root, `docker.io/library/${name}`, ['--cmd', cmd, '--env', PATH]);
    const file = join(folder, `${name.replace(':', '_')}.tar`);
    await buildah.save(`docker.io/library/${name}`, file);
    archives.set(name, file);
  }
  // A folder has the name of its image, `python_3.11-slim` for `python:3.11-slim`.
  const names = (await readdir(DOCKERFILES)).toSorted();
  const folders = new Map(names.map((name) => [name.replace('_', ':'), join(DOCKERFILES, name)]));
  for (const [name, context] of folders) await buildah.build(context, `docker.io/library/${name}`);
  return { archives, folders };
}

/** Makes the root file system of a BusyBox image below a folder, and returns its path. */
export async function busyboxRoot(folder: string): Promise<string> {
  const root = join(folder, 'busybox');
  for (const name of [
    'bin',
    'etc',
    'root',
    'tmp',
    'home',
    'usr/bin',
    'usr/sbin',
    'usr/local/bin',
    'var/log',
    'var/cache',
  ])
    await mkdir(join(root, name), { recursive: true });
  await chmod(join(root, 'tmp'), 0o1777);
  await chmod(join(root, 'root'), 0o700);
  await copyFile('/bin/busybox', join(root, 'bin/busybox'));
  const applets = (await command('busybox', ['--list'])).trim().split('\n');
  for (const applet of applets) if (applet !== 'busybox') await symlink('busybox', join(root, 'bin', applet));
  await cp(join(ROOT, 'busybox'), root, { recursive: true });
  for (const program of ['adduser', 'addgroup']) await chmod(join(root, 'usr/sbin', program), 0o755);
  return root;
}

async function debianRoot(folder: string, cache: string): Promise<string> {
  const tar = join(cache, 'debian.tar');
  await mkdir(cache, { recursive: true });
  if (!existsSync(tar)) {
    const made = join(folder, 'debian-new.tar');
    await command('mmdebstrap', ['--variant=minbase', `--include=${PACKAGES}`, ...LEFT_OUT, 'bookworm', made]);
    await cp(made, tar);
  }
  const root = join(folder, 'debian');
  await mkdir(root);
  await command('tar', ['--numeric-owner', '--exclude=./dev/*', '-xpf', tar, '-C', root]);
  return root;
}
