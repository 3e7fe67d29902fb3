import { realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { fault } from '../../contract/errors.ts';
import { limits } from '../../contract/limits.ts';
import { makeFolders } from '../../std/files.ts';
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
import { firstUsable, type Runsc, type RunscSearch, usableRunscs } from './runsc.ts';

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
  /** Returns the same with the next runsc that can be used; undefined when there are no more. */
  readonly next: () => Promise<GvisorPlatform | undefined>;
}

/** Looks for everything once. Rejects with DRIVER_UNAVAILABLE, naming what is missing. */
export async function openGvisorPlatform(options: GvisorPlatformOptions, signal: AbortSignal): Promise<GvisorPlatform> {
  const { stateDir, guestDir, path, identities } = options;
  const scratch = join(stateDir, 'tmp');
  await makeFolders(scratch, 0o700);
  const owner = ownerOf(await realpath(stateDir));
  const [{ bwrap }, guest] = await Promise.all([findTools(['bwrap']), loadGuest(guestDir), endStaleVms(owner)]);
  const answerMsMax = await answerLimit(bwrap, signal);
  const search = usableRunscs({ path, guestDir, answerMsMax }, signal);
  const first = await firstUsable(search);
  if (guest.agent === undefined) {
    const remedy = 'build the guest with guest/build';
    throw fault('DRIVER_UNAVAILABLE', { reason: 'the guest lacks the agent as a program of its own', remedy });
  }
  await using stack = new AsyncDisposableStack();
  const groups = await Cgroups.open(owner, scratch);
  if (groups !== undefined) stack.use(groups);
  using taken = identities.take();
  const layers = await MountableLayers.open(join(stateDir, 'layers'));
  const programs = { owner, bwrap, helper: guest.helper.path, limited: groups !== undefined };
  const root = await rootImage(stateDir, guest.agent);
  const ownUser = taken.vm;
  const resources = stack.move();
  const common = { helper: guest.helper.path, root, scratch, cgroups: groups, layers };
  const platformOf = async ({ found: runsc, rejected }: RunscSearch & { found: Runsc }): Promise<GvisorPlatform> => {
    const jail = new SandboxJail({ ...programs, runsc }, ownUser);
    const closed = ownUser === undefined ? { shown: [], copied: [] } : await closedPrograms(jail.programs);
    let next: Promise<GvisorPlatform | undefined> | undefined;
    return {
      ...common,
      runsc,
      rejected,
      jail,
      closed,
      copiedMib: await sizeMib(closed.copied),
      startMsMax: startLimit(runsc),
      next: () => (next ??= search.next().then(({ done, value }) => (done === true ? undefined : platformOf(value)))),
      [Symbol.asyncDispose]: () => resources.disposeAsync(),
    };
  };
  return platformOf(first);
}

/** Returns the longest time of a start, which depends on how fast runsc starts on this host. */
function startLimit({ versionMs }: Runsc): number {
  const slowest = START_OVER_VERSION * versionMs;
  return Math.round(Math.min(Math.max(limits.guestRestoreMsMax, slowest), limits.guestBootMsMax));
}

/** Returns how long a runsc may take to print its version, which depends on how fast this host starts a program. */
async function answerLimit(bwrap: string, signal: AbortSignal): Promise<number> {
  const startedMs = performance.now();
  await runTool(bwrap, ['--version'], signal);
  const slowest = ANSWER_OVER_BWRAP * (performance.now() - startedMs);
  return Math.round(Math.min(Math.max(ANSWER_MS.min, slowest), ANSWER_MS.max));
}
