import { access, constants, realpath, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fault } from '../../contract/errors.ts';
import { runTool } from '../microvm/host/tool.ts';
import { SIDECARS } from './bundle.ts';

/** An installed runsc. */
export interface Runsc {
  readonly path: string;
  /** Version that it prints, for example `release-20260831.0`; a build of its Go module has none. */
  readonly version: string;
  /** Time that it took to print the version. */
  readonly versionMs: number;
  /** Programs that came with it, by their names in `SIDECARS`. */
  readonly sidecars: Readonly<Partial<Record<keyof typeof SIDECARS, string>>>;
  /** Key that changes when any of the files does. */
  readonly identity: string;
}

const REMEDY = 'install gVisor (https://gvisor.dev/docs/user_guide/install/), or run scripts/setup';

/**
 * Finds runsc: on `path` (folders, as in the environment's PATH), else in the folder of the guest. Rejects with
 * DRIVER_UNAVAILABLE when there is none.
 */
export async function findRunsc(path: string, guestDir: string, signal: AbortSignal): Promise<Runsc> {
  for (const folder of [...path.split(':').filter((part) => part.startsWith('/')), guestDir]) {
    const candidate = join(folder, 'runsc');
    if (await isProgram(candidate)) return describe(await realpath(candidate), signal);
  }
  throw fault('DRIVER_UNAVAILABLE', { reason: 'this host has no runsc (gVisor)', remedy: REMEDY });
}

async function describe(path: string, signal: AbortSignal): Promise<Runsc> {
  const startedMs = performance.now();
  const text = await runTool(path, ['--version'], signal);
  const versionMs = performance.now() - startedMs;
  const version = /^runsc version (\S+)/mu.exec(text)?.[1] ?? 'unknown';
  const sidecars: Record<string, string> = {};
  for (const [name, file] of Object.entries(SIDECARS)) {
    const sidecar = join(dirname(path), 'gvisor-bin', file);
    if (await isProgram(sidecar)) sidecars[name] = sidecar;
  }
  const files = [path, ...Object.values(sidecars)].map(async (file) => {
    const { size, mtimeMs } = await stat(file);
    return `${file} ${size} ${mtimeMs}`;
  });
  return {
    path,
    version: version === 'VERSION_MISSING' ? 'built from its module' : version,
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
