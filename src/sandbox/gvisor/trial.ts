import { readFile, rm, stat } from 'node:fs/promises';
import { release } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { isFault } from '../../contract/errors.ts';
import { defined } from '../../std/assert.ts';
import { writeFileAtomically } from '../../std/files.ts';
import type { GvisorPlatform } from './platform.ts';

/** Result of trying gVisor on this host. */
export interface TrialVerdict {
  readonly works: boolean;
  readonly reason: string;
  /** Next step where it does not work, if one is known. */
  readonly remedy?: string | undefined;
}

const TRIAL_FILE = 'trial.json';
const Verdict = z.object({ works: z.boolean(), reason: z.string(), remedy: z.string().optional() });
const TrialFile = z.object({
  /** Key of the host, the guest and the engine's confinement. */
  host: z.string(),
  /** Verdicts by `Runsc.identity`. */
  runscs: z.record(z.string(), Verdict),
});

/** Settings of the kernel that decide whether gVisor works, as far as this kernel has them. */
const KERNEL_SETTINGS = [
  '/proc/sys/user/max_user_namespaces',
  '/proc/sys/kernel/unprivileged_userns_clone',
  '/proc/sys/kernel/apparmor_restrict_unprivileged_userns',
  '/proc/sys/kernel/yama/ptrace_scope',
];

/** Result of trying one runsc after the other. */
export interface RunscChoice {
  /** With the first that works, else with the first of all. Its `rejected` has the reasons why others before it are not used. */
  readonly platform: GvisorPlatform;
  readonly verdict: TrialVerdict;
}

/** Tries one runsc after the other until one works, or until the host turns out to refuse something to all of them. */
export async function firstWorking(
  platform: GvisorPlatform,
  folder: string,
  run: (platform: GvisorPlatform) => Promise<void>,
  options: { readonly again: boolean },
): Promise<RunscChoice> {
  const failed: string[] = [];
  let choice: RunscChoice | undefined;
  for (let tried: GvisorPlatform | undefined = platform; tried !== undefined; tried = await tried.next()) {
    const current = tried;
    const verdict = await tryOnce(current, folder, () => run(current), options);
    const found = { platform: { ...current, rejected: [...current.rejected, ...failed] }, verdict };
    if (verdict.works) return found;
    choice ??= found;
    if (verdict.remedy !== undefined) break;
    failed.push(`${current.runsc.path} (${current.runsc.version}): ${verdict.reason}`);
  }
  const { platform: first, verdict } = defined(choice, 'the first was tried');
  return { platform: { ...first, rejected: [...first.rejected, ...failed.slice(1)] }, verdict };
}

/**
 * Returns whether sandboxes work here: `run` runs a program in one. The result is kept until the host is restarted, runsc or the
 * guest changes, or this process is confined in another way; with `again`, only if they work. Rejects with errors that do not
 * depend on gVisor, for example that the trial was aborted.
 */
async function tryOnce(
  platform: GvisorPlatform,
  folder: string,
  run: () => Promise<void>,
  { again }: { readonly again: boolean },
): Promise<TrialVerdict> {
  const path = join(folder, TRIAL_FILE);
  const host = await keyOf(platform);
  const { identity } = platform.runsc;
  const read = await readTrial(path);
  const runscs = read?.host === host ? read.runscs : {};
  const known = runscs[identity];
  if (known !== undefined && (known.works || !again)) return known;
  const verdict = await run().then(
    () => ({ works: true, reason: 'a program ran in it' }),
    (error: unknown) => {
      if (!isFault(error, 'GUEST_BOOT_TIMEOUT', 'DRIVER_UNAVAILABLE', 'GUEST_LOST')) throw error;
      const { reason = error.message, remedy } = error.detail;
      const next = typeof remedy === 'string' ? { remedy } : {};
      return { works: false, reason: `no program runs in it: ${String(reason)}`, ...next };
    },
  );
  await writeFileAtomically(path, JSON.stringify({ host, runscs: { ...runscs, [identity]: verdict } }), {
    mode: 0o600,
  });
  return verdict;
}

/** Has the next trial run a program again. */
export async function forgetTrial(folder: string): Promise<void> {
  await rm(join(folder, TRIAL_FILE), { force: true });
}

async function keyOf({ root, helper }: GvisorPlatform): Promise<string> {
  const [bootId, status, ...settings] = await Promise.all(
    ['/proc/sys/kernel/random/boot_id', '/proc/self/status', ...KERNEL_SETTINGS].map((path) =>
      readFile(path, 'utf8').catch(() => ''),
    ),
  );
  const confinement = status?.match(/^(?:CapEff|NoNewPrivs|Seccomp):.*$/gmu) ?? [];
  const { size, mtimeMs } = await stat(helper);
  const host = [release(), bootId, String(process.getuid?.()), ...confinement, ...settings];
  return [...host, root, `${helper} ${size} ${mtimeMs}`].map((part) => part?.trim()).join('; ');
}

async function readTrial(path: string): Promise<z.infer<typeof TrialFile> | undefined> {
  try {
    return TrialFile.parse(JSON.parse(await readFile(path, 'utf8')));
  } catch {
    return undefined;
  }
}
