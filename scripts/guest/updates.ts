import { spawnSync } from 'node:child_process';
import { globSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';

/** Lists of packages that are older are fetched again before they are asked, by root: others may not. */
const LISTS_MS_MAX = 24 * 3_600_000;
const LISTS = '/var/lib/apt/lists';

/** The output of a program, or undefined when it cannot be run or fails. */
function output(program: string, args: readonly string[]): string | undefined {
  const { status, stdout, error } = spawnSync(program, args, { encoding: 'utf8' });
  return error === undefined && status === 0 ? stdout : undefined;
}

/** Returns the version of a package that apt would install (apt-cache(8), "policy"); undefined when it knows none. */
export function candidateVersion(name: string): string | undefined {
  const [, version] = /^ {2}Candidate: (\S+)$/mu.exec(output('apt-cache', ['policy', name]) ?? '') ?? [];
  return version === '(none)' ? undefined : version;
}

/** The package that a meta package stands for: of the newest kernel. A package that depends on no kernel is one itself. */
export function kernelPackage(name: string): string | undefined {
  const depends = output('apt-cache', ['depends', '--important', name]);
  return depends === undefined ? undefined : (/Depends: (linux-image-\d\S*)/u.exec(depends)?.[1] ?? name);
}

/** Fetches the lists of packages when the system has not done so for a day; without a network they stay as they are. */
export function refreshLists(): void {
  const [newest = 0] = globSync(join(LISTS, '*Packages*'))
    .map((file) => statSync(file).mtimeMs)
    .sort((left, right) => right - left);
  if (process.getuid?.() === 0 && Date.now() - newest > LISTS_MS_MAX) output('apt-get', ['-qq', 'update']);
}

/**
 * Whether the distribution has a newer kernel than the one of version `have`, of the same package or of the one that took its
 * place. What cannot be looked up is no update; `keep` hears why.
 */
export function hasUpdate(name: string, have: string | undefined, keep: (reason: string) => void): boolean {
  const newest = kernelPackage(name);
  const version = newest === undefined ? undefined : candidateVersion(newest);
  if (version === undefined) keep(`apt knows no package ${name}`);
  if (version === undefined || have === undefined) return false;
  return output('dpkg', ['--compare-versions', version, 'gt', have]) !== undefined;
}

/** An unpacked package from an earlier download, to go on with where there is no network. */
export function cachedPackage(cache: string): string | undefined {
  const folders = globSync('linux-image-*', { cwd: cache }).filter((name) => !name.endsWith('.partial'));
  const [latest] = folders
    .map((name) => join(cache, name))
    .sort((left, right) => statSync(right).mtimeMs - statSync(left).mtimeMs);
  return latest;
}

/** What to call a download: the name of a package stays when its kernel is repaired, its version does not. */
export function downloadName(name: string): string {
  const version = candidateVersion(name);
  return basename(version === undefined ? name : `${name}_${version}`);
}
