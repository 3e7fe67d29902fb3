import { createHash } from 'node:crypto';
import { access, lstat, mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { command } from './command.ts';

/** A Debian image like those in registries. */
export interface DebianImage {
  /** Root filesystem, plain tar. */
  readonly tar: string;
  /** The same as an OCI layout directory with the single reference `debian`. */
  readonly layout: string;
}

/** Folder in which images built for tests, benchmarks and the quickstart are kept between runs. */
export function imageCache(): string {
  return process.env['CONTREE_TEST_CACHE'] ?? join(tmpdir(), `contree-cache-${process.getuid?.() ?? 0}`);
}

/**
 * Creates the cache, or checks that it is ours alone: in `/tmp` another user could have created it first, with an image
 * of their choice.
 */
export async function ownCache(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const info = await lstat(folder);
  const owner = process.getuid?.() ?? info.uid;
  if (!info.isDirectory() || info.uid !== owner || (info.mode & 0o022) !== 0) {
    throw new Error(`${folder} is not a directory that only you may write to; remove it, or set CONTREE_TEST_CACHE`);
  }
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

/** Fills a folder of the cache once and returns its path; one that could not be filled leaves nothing. */
export async function cached(name: string, fill: (folder: string) => Promise<void>): Promise<string> {
  const folder = join(imageCache(), name);
  await ownCache(imageCache());
  if (await exists(folder)) return folder;
  const staged = await mkdtemp(join(imageCache(), 'building-'));
  try {
    await fill(staged);
    await rename(staged, folder);
  } catch (error) {
    await rm(staged, { recursive: true, force: true });
    // Another process may have filled it in the meantime, which is just as good.
    if (!(await exists(folder))) throw error;
  }
  return folder;
}

/** Returns what tells a set of packages from another in the name of a folder. */
export function packagesKey(packages: readonly string[]): string {
  return createHash('sha256').update(packages.toSorted().join(',')).digest('hex').slice(0, 12);
}

/** Writes a Debian 12 root filesystem with these packages to `tar`, out of Debian's own packages. */
export async function debianRoot(packages: readonly string[], tar: string, options: readonly string[]): Promise<void> {
  const include = `--include=${packages.join(',')}`;
  await command('mmdebstrap', ['--variant=minbase', include, ...options, 'bookworm', tar]);
}

/**
 * Builds a Debian 12 root filesystem with python3 and the package lists (so that `apt-get install` works at once in a
 * guest) out of Debian's own packages, once per set of packages. About 270 MB, 11,000 files.
 */
export async function debianImage(packages: readonly string[] = ['python3', 'ca-certificates']): Promise<DebianImage> {
  const folder = await cached(`debian-${packagesKey(packages)}`, async (staged) => {
    const tar = join(staged, 'root.tar');
    await debianRoot(packages, tar, ['--skip=cleanup/apt/lists']);
    await layoutOf(tar, join(staged, 'layout'));
  });
  return { tar: join(folder, 'root.tar'), layout: join(folder, 'layout') };
}

/** Wraps one root filesystem tar as an OCI layout with the reference `debian`. */
export async function layoutOf(tar: string, layout: string): Promise<void> {
  await command('umoci', ['init', '--layout', layout]);
  await command('umoci', ['new', '--image', `${layout}:debian`]);
  await command('umoci', ['raw', 'add-layer', '--image', `${layout}:debian`, tar]);
  const path = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
  await command('umoci', ['config', '--image', `${layout}:debian`, '--config.env', path, '--config.cmd', 'bash']);
}
