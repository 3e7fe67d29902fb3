import { access, constants, realpath, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fault, isFault } from '../../contract/errors.ts';
import { runTool } from '../host/tool.ts';
import { SIDECARS } from './bundle.ts';

/** Oldest release, `YYYYMMDD`, that sandboxes work with: since then the sandbox process is a program of its own. */
export const OLDEST_RUNSC = '20260824';

/** An installed runsc. */
export interface Runsc {
  readonly path: string;
  /** Version that it prints, for example `release-20260831.0`; a build of its Go module may have none. */
  readonly version: string;
  /** Time that it took to print the version. */
  readonly versionMs: number;
  /** Programs that came with it, by their names in `SIDECARS`. */
  readonly sidecars: Readonly<Partial<Record<keyof typeof SIDECARS, string>>>;
  /** Key that changes when any of the files does. */
  readonly identity: string;
}

/** Places of a runsc. */
export interface RunscPlaces {
  /** Folders that are looked into first, as in the environment's PATH. */
  readonly path: string;
  /** Folder of the guest, whose runsc comes last. `scripts/setup` chose it, so its version may be any. */
  readonly guestDir?: string;
  /** Longest time in which a runsc may print its version, ms. */
  readonly answerMsMax?: number;
}

export const RUNSC_REMEDY = 'install gVisor (https://gvisor.dev/docs/user_guide/install/), or run scripts/setup';

/** Returns the date, `YYYYMMDD`, of a version: of a release, of a Go module, or of Debian's package. */
export function releaseDate(version: string): string | undefined {
  return /(?:^release-|^v0\.0\.0-|~)(\d{8})/u.exec(version)?.[1];
}

/** Result of a search for runsc. */
export interface RunscSearch {
  /** The first that answers and is new enough. */
  readonly found: Runsc | undefined;
  /** Reasons why others, which come before it, are not used; a line for each. */
  readonly rejected: readonly string[];
}

/** Returns the first runsc that can be used, and why others are not. Rejects with DRIVER_UNAVAILABLE if there is none. */
export async function findRunsc(places: RunscPlaces, signal: AbortSignal): Promise<RunscSearch & { found: Runsc }> {
  return firstUsable(usableRunscs(places, signal));
}

/** Returns the first runsc of a search that goes on with the others. Rejects with DRIVER_UNAVAILABLE if there is none. */
export async function firstUsable(search: ReturnType<typeof usableRunscs>): Promise<RunscSearch & { found: Runsc }> {
  const { done, value } = await search.next();
  if (done !== true) return value;
  const rejected = value;
  const reason =
    rejected.length === 0 ? 'this host has no runsc (gVisor)' : `no runsc can be used: ${rejected.join('; ')}`;
  throw fault('DRIVER_UNAVAILABLE', { reason, remedy: RUNSC_REMEDY });
}

/** Looks for runsc until one can be used. */
export async function searchRunsc(places: RunscPlaces, signal: AbortSignal): Promise<RunscSearch> {
  const { done, value } = await usableRunscs(places, signal).next();
  return done === true ? { found: undefined, rejected: value } : value;
}

/** Yields each runsc that can be used, with the reasons why others before it are not; returns all reasons. */
export async function* usableRunscs(
  places: RunscPlaces,
  signal: AbortSignal,
): AsyncGenerator<RunscSearch & { readonly found: Runsc }, readonly string[], undefined> {
  const { path, guestDir, answerMsMax } = places;
  const folders = path.split(':').filter((part) => part.startsWith('/'));
  const rejected: string[] = [];
  for (const file of await candidates(guestDir === undefined ? folders : [...folders, guestDir])) {
    const found = await described(file, signal, answerMsMax);
    if (typeof found === 'string') rejected.push(found);
    else if (dirname(file) === guestDir || isNewEnough(found.version)) yield { found, rejected: [...rejected] };
    else rejected.push(`${file} is ${found.version}, not of ${OLDEST_RUNSC} or later`);
  }
  return rejected;
}

function isNewEnough(version: string): boolean {
  const date = releaseDate(version);
  return date !== undefined && date >= OLDEST_RUNSC;
}

/** Returns the programs of this name in the folders, without repetitions of one file. */
async function candidates(folders: readonly string[]): Promise<string[]> {
  const files = new Map<string, string>();
  for (const folder of folders) {
    const file = join(folder, 'runsc');
    if (!(await isProgram(file))) continue;
    const real = await realpath(file);
    // The place of the guest counts, even if the folder is on the path too.
    if (!files.has(real) || folder === folders.at(-1)) files.set(real, file);
  }
  return [...files.values()];
}

/** Returns the reason instead when it does not tell its version. */
async function described(file: string, signal: AbortSignal, answerMsMax: number | undefined): Promise<Runsc | string> {
  try {
    return await describe(file, signal, answerMsMax);
  } catch (error) {
    if (!isFault(error, 'DRIVER_UNAVAILABLE')) throw error;
    return String(error.detail['reason']);
  }
}

async function describe(file: string, signal: AbortSignal, answerMsMax: number | undefined): Promise<Runsc> {
  const path = await realpath(file);
  const startedMs = performance.now();
  const text = await runTool(path, ['--version'], signal, answerMsMax);
  const versionMs = performance.now() - startedMs;
  const version = /^runsc version (\S+)/mu.exec(text)?.[1];
  if (version === undefined) throw fault('DRIVER_UNAVAILABLE', { reason: `${file} prints no version of runsc` });
  const sidecars: Record<string, string> = {};
  for (const [name, program] of Object.entries(SIDECARS)) {
    const sidecar = join(dirname(path), 'gvisor-bin', program);
    if (await isProgram(sidecar)) sidecars[name] = sidecar;
  }
  const files = [path, ...Object.values(sidecars)].map(async (part) => {
    const { size, mtimeMs } = await stat(part);
    return `${part} ${size} ${mtimeMs}`;
  });
  return {
    path,
    version: version === 'VERSION_MISSING' ? 'built from its module without a version' : version,
    versionMs,
    sidecars,
    identity: (await Promise.all(files)).join('\n'),
  };
}

async function isProgram(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}
