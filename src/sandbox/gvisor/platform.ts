import { realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { fault } from '../../contract/errors.ts';
import { limits } from '../../contract/limits.ts';
import { Cgroups } from '../host/cgroup.ts';
import { findTools } from '../host/programs.ts';
import type { Identities } from '../host/identity.ts';
import { endStaleVms, ownerOf } from '../host/stale-vms.ts';
import { runTool } from '../host/tool.ts';
import { loadGuest } from '../host/guest.ts';
import { type ClosedPrograms, closedPrograms, sizeMib } from './closed-programs.ts';
import { MountableLayers } from './layers.ts';
import { SandboxJail } from './jail.ts';
import { rootImage } from './root-image.ts';
import { findRunsc, type Runsc } from './runsc.ts';

export interface GvisorPlatformOptions {
  readonly stateDir: string;
  readonly guestDir: string;
  /** Folders in which runsc is looked for, as in the environment's PATH. */
  readonly path: string;
  readonly identities: Identities;
}

/** Longest start, as a multiple of the time in which runsc prints its version; a usual start takes about ten. */
const START_OVER_VERSION = 200;
/** Longest time in which runsc may print its version, as a multiple of that of bubblewrap; usual are ten. */
const ANSWER_OVER_BWRAP = 500;
const ANSWER_MS = { min: 5_000, max: 60_000 } as const;

/** Everything that a sandbox needs from this host. */
export interface GvisorPlatform extends AsyncDisposable {
  readonly runsc: Runsc;
  /** Reasons why other runscs are not used. */
  readonly rejected: readonly string[];
  /** Path of the host's helper. */
  readonly helper: string;
  readonly jail: SandboxJail;
  readonly closed: ClosedPrograms;
  /** Memory of the copies that each run gets of them. */
  readonly copiedMib: number;
  /** File with the root file system of every sandbox. */
  readonly root: string;
  /** Folder for files that lose their name before a sandbox starts. */
  readonly scratch: string;
  readonly cgroups: Cgroups | undefined;
  readonly layers: MountableLayers;
  /** Longest time of a start, which depends on the speed of the host. */
  readonly startMsMax: number;
}

/** Looks for everything once. Rejects with DRIVER_UNAVAILABLE, naming what is missing. */
export async function openGvisorPlatform(options: GvisorPlatformOptions, signal: AbortSignal): Promise<GvisorPlatform> {
  const { stateDir, guestDir, path, identities } = options;
  const scratch = join(stateDir, 'tmp');
  const owner = ownerOf(await realpath(stateDir));
  const [{ bwrap }, guest] = await Promise.all([findTools(['bwrap']), loadGuest(guestDir), endStaleVms(owner)]);
  const answerMsMax = await answerLimit(bwrap, signal);
  const { found: runsc, rejected } = await findRunsc({ path, guestDir, answerMsMax }, signal);
  if (guest.agent === undefined) {
    const remedy = 'build the guest with guest/build';
    throw fault('DRIVER_UNAVAILABLE', { reason: 'the guest lacks the agent as a program of its own', remedy });
  }
  await using stack = new AsyncDisposableStack();
  const groups = await Cgroups.open(owner, scratch);
  if (groups !== undefined) stack.use(groups);
  using taken = identities.take();
  const layers = await MountableLayers.open(join(stateDir, 'layers'));
  const programs = { owner, bwrap, helper: guest.helper.path, runsc, limited: groups !== undefined };
  const root = await rootImage(stateDir, guest.agent);
  const jail = new SandboxJail(programs, taken.vm);
  const closed = taken.vm === undefined ? { shown: [], copied: [] } : await closedPrograms(jail.programs);
  const slowest = START_OVER_VERSION * runsc.versionMs;
  const resources = stack.move();
  return {
    runsc,
    rejected,
    helper: guest.helper.path,
    jail,
    closed,
    copiedMib: await sizeMib(closed.copied),
    root,
    scratch,
    cgroups: groups,
    layers,
    startMsMax: Math.round(Math.min(Math.max(limits.guestRestoreMsMax, slowest), limits.guestBootMsMax)),
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

/** Returns how long a runsc may take to print its version, which depends on how fast this host starts a program. */
async function answerLimit(bwrap: string, signal: AbortSignal): Promise<number> {
  const startedMs = performance.now();
  await runTool(bwrap, ['--version'], signal);
  const slowest = ANSWER_OVER_BWRAP * (performance.now() - startedMs);
  return Math.round(Math.min(Math.max(ANSWER_MS.min, slowest), ANSWER_MS.max));
}
