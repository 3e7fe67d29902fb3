import { spawnSync } from 'node:child_process';
import { globSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';

/** Age at which package lists are fetched again before they are used, if root. */
const LISTS_MS_MAX = 24 * 3_600_000;
const LISTS = '/var/lib/apt/lists';

/** Returns the output of a program; undefined when it cannot be run or fails. */
function output(program: string, args: readonly string[]): string | undefined {
  const { status, stdout, error } = spawnSync(program, args, { encoding: 'utf8' });
  return error === undefined && status === 0 ? stdout : undefined;
}

/** Returns the version of a package that apt would install (apt-cache(8), "policy"); undefined when it knows none. */
export function candidateVersion(name: string): string | undefined {
  const [, version] = /^ {2}Candidate: (\S+)$/mu.exec(output('apt-cache', ['policy', name]) ?? '') ?? [];
  return version === '(none)' ? undefined : version;
}

/**
 * Returns the package of the newest kernel, on which a meta package depends; a package that depends on no kernel is
 * returned itself.
 */
export function kernelPackage(name: string): string | undefined {
  const depends = output('apt-cache', ['depends', '--important', name]);
  return depends === undefined ? undefined : (/Depends: (linux-image-\d\S*)/u.exec(depends)?.[1] ?? name);
}

/** Fetches package lists older than a day; without a network they stay as they are. */
export function refreshLists(): void {
  const [newest = 0] = globSync(join(LISTS, '*Packages*'))
    .map((file) => statSync(file).mtimeMs)
    .sort((left, right) => right - left);
  if (process.getuid?.() === 0 && Date.now() - newest > LISTS_MS_MAX) output('apt-get', ['-qq', 'update']);
}

/**
 * Reports whether the distribution has a newer kernel than version `have`, in the same package or in its successor. A
 * failed lookup counts as no update; `keep` is called with the reason.
 */
export function hasUpdate(name: string, have: string | undefined, keep: (reason: string) => void): boolean {
  const newest = kernelPackage(name);
  const version = newest === undefined ? undefined : candidateVersion(newest);
  if (version === undefined) keep(`apt knows no package ${name}`);
  if (version === undefined || have === undefined) return false;
  return output('dpkg', ['--compare-versions', version, 'gt', have]) !== undefined;
}

/** Finds an unpacked package from an earlier download, for use without a network. */
export function cachedPackage(cache: string): string | undefined {
  const folders = globSync('linux-image-*', { cwd: cache }).filter((name) => !name.endsWith('.partial'));
  const [latest] = folders
    .map((name) => join(cache, name))
    .sort((left, right) => statSync(right).mtimeMs - statSync(left).mtimeMs);
  return latest;
}

/** Returns the name of a download, with the version, because a fixed kernel keeps its package name. */
export function downloadName(name: string): string {
  const version = candidateVersion(name);
  return basename(version === undefined ? name : `${name}_${version}`);
}
