import { readFile, rm, stat } from 'node:fs/promises';
import { release } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { isFault } from '../../contract/errors.ts';
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
const TrialFile = z.object({
  key: z.string(),
  works: z.boolean(),
  reason: z.string(),
  remedy: z.string().optional(),
});

/** Settings of the kernel that decide whether gVisor works, as far as this kernel has them. */
const KERNEL_SETTINGS = [
  '/proc/sys/user/max_user_namespaces',
  '/proc/sys/kernel/unprivileged_userns_clone',
  '/proc/sys/kernel/apparmor_restrict_unprivileged_userns',
  '/proc/sys/kernel/yama/ptrace_scope',
];

/**
 * Returns whether sandboxes work here: `run` runs a program in one. The result is kept until the host is restarted, runsc or the
 * guest changes, or this process is confined in another way; with `again`, only if they work. Rejects with errors that do not
 * depend on gVisor, for example that the trial was aborted.
 */
export async function tryOnce(
  platform: GvisorPlatform,
  folder: string,
  run: () => Promise<void>,
  { again }: { readonly again: boolean },
): Promise<TrialVerdict> {
  const path = join(folder, TRIAL_FILE);
  const key = await keyOf(platform);
  const known = await readTrial(path);
  if (known?.key === key && (known.works || !again)) {
    return { works: known.works, reason: known.reason, remedy: known.remedy };
  }
  const verdict = await run().then(
    () => ({ works: true, reason: 'a program ran in it' }),
    (error: unknown) => {
      if (!isFault(error, 'GUEST_BOOT_TIMEOUT', 'DRIVER_UNAVAILABLE', 'GUEST_LOST')) throw error;
      const { reason = error.message, remedy } = error.detail;
      const next = typeof remedy === 'string' ? { remedy } : {};
      return { works: false, reason: `no program runs in it: ${String(reason)}`, ...next };
    },
  );
  await writeFileAtomically(path, JSON.stringify({ key, ...verdict }), { mode: 0o600 });
  return verdict;
}

/** Has the next trial run a program again. */
export async function forgetTrial(folder: string): Promise<void> {
  await rm(join(folder, TRIAL_FILE), { force: true });
}

async function keyOf({ runsc, root, helper }: GvisorPlatform): Promise<string> {
  const [bootId, status, ...settings] = await Promise.all(
    ['/proc/sys/kernel/random/boot_id', '/proc/self/status', ...KERNEL_SETTINGS].map((path) =>
      readFile(path, 'utf8').catch(() => ''),
    ),
  );
  const confinement = status?.match(/^(?:CapEff|NoNewPrivs|Seccomp):.*$/gmu) ?? [];
  const { size, mtimeMs } = await stat(helper);
  const host = [release(), bootId, String(process.getuid?.()), ...confinement, ...settings];
  return [...host, runsc.identity, root, `${helper} ${size} ${mtimeMs}`].map((part) => part?.trim()).join('; ');
}

async function readTrial(path: string): Promise<z.infer<typeof TrialFile> | undefined> {
  try {
    return TrialFile.parse(JSON.parse(await readFile(path, 'utf8')));
  } catch {
    return undefined;
  }
}
