import { readFile } from 'node:fs/promises';
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
}

const TRIAL_FILE = 'trial.json';
const TrialFile = z.object({ key: z.string(), works: z.boolean(), reason: z.string() });

/**
 * Returns whether sandboxes work here: `run` runs a program in one. The result is kept until the host is restarted, or runsc
 * or the guest changes. Rejects with errors that do not depend on gVisor, for example that the trial was aborted.
 */
export async function tryOnce(
  platform: GvisorPlatform,
  folder: string,
  run: () => Promise<void>,
): Promise<TrialVerdict> {
  const path = join(folder, TRIAL_FILE);
  const key = await keyOf(platform);
  const known = await readTrial(path);
  if (known?.key === key) return { works: known.works, reason: known.reason };
  const verdict = await run().then(
    () => ({ works: true, reason: 'a program ran in it' }),
    (error: unknown) => {
      if (!isFault(error, 'GUEST_BOOT_TIMEOUT', 'DRIVER_UNAVAILABLE', 'GUEST_LOST')) throw error;
      return { works: false, reason: `no program runs in it: ${String(error.detail['reason'] ?? error.message)}` };
    },
  );
  await writeFileAtomically(path, JSON.stringify({ key, ...verdict }), { mode: 0o600 });
  return verdict;
}

async function keyOf({ runsc, root }: GvisorPlatform): Promise<string> {
  const bootId = await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => '');
  return [release(), bootId.trim(), String(process.getuid?.()), runsc.identity, root].join('; ');
}

async function readTrial(path: string): Promise<z.infer<typeof TrialFile> | undefined> {
  try {
    return TrialFile.parse(JSON.parse(await readFile(path, 'utf8')));
  } catch {
    return undefined;
  }
}
