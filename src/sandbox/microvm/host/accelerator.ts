import { access, constants, readFile, rm, stat } from 'node:fs/promises';
import { release } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { isFault } from '../../../contract/errors.ts';
import { writeFileAtomically } from '../../../std/files.ts';
import type { Host } from './host.ts';
import type { Accelerator } from '../vm/machine.ts';

export type AcceleratorSetting = 'auto' | Accelerator;

/** Choice between KVM and emulation, with its reason. */
export interface Verdict {
  readonly accelerator: Accelerator;
  readonly reason: string;
}

/** A device on the host that QEMU uses. */
export interface HostDevice {
  readonly path: string;
  /** Group that may open it, if QEMU's own user may not. */
  readonly gid?: number;
}

/** /dev/kvm as a microVM can use it, or the reason why it cannot. */
export type Kvm = { readonly device: HostDevice } | { readonly denied: string };

const KVM_PATH = '/dev/kvm';
const VERDICT_FILE = 'accelerator.json';

/** `asOther`: QEMU runs under an identity of its own, which can be given a group, but not root's rights. */
export async function findKvm(asOther: boolean, path: string = KVM_PATH): Promise<Kvm> {
  try {
    await access(path, constants.R_OK | constants.W_OK);
    const { mode, gid } = await stat(path);
    if (!asOther || (mode & 0o006) === 0o006) return { device: { path } };
    if ((mode & 0o060) === 0o060 && gid !== 0) return { device: { path, gid } };
    return { denied: `only root may open ${path}; give it to a group: chgrp kvm ${path} && chmod 660 ${path}` };
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return { denied: `this host has no ${path}` };
    return { denied: `${path} cannot be opened (${code}); add this user to the group "kvm"` };
  }
}

const VerdictFile = z.object({ key: z.string(), accelerator: z.enum(['kvm', 'emulated']), reason: z.string() });

/**
 * Decides between KVM and emulation for `auto`. On some hosts /dev/kvm can be opened but no guest ever runs, so `tryKvm`
 * boots a guest. The result is remembered until the host or QEMU changes.
 */
export async function chooseAccelerator(
  kvm: Kvm,
  host: Host,
  folder: string,
  tryKvm: () => Promise<void>,
): Promise<Verdict> {
  if ('denied' in kvm) return { accelerator: 'emulated', reason: kvm.denied };
  const path = join(folder, VERDICT_FILE);
  const key = await verdictKey(host);
  const known = await readVerdict(path);
  if (known?.key === key) return { accelerator: known.accelerator, reason: known.reason };
  const verdict = await tryKvm().then(
    () => ({ accelerator: 'kvm', reason: 'a guest was booted with it' }) as const,
    (error: unknown) => {
      // Other errors are unrelated to KVM: the trial was aborted, or the disk is full.
      if (!isFault(error, 'GUEST_BOOT_TIMEOUT', 'DRIVER_UNAVAILABLE')) throw error;
      const reason = `${kvm.device.path} opens, but no guest runs: ${error.detail['reason'] ?? error.message}`;
      return { accelerator: 'emulated', reason } as const;
    },
  );
  await writeFileAtomically(path, JSON.stringify({ key, ...verdict }), { mode: 0o600 });
  return verdict;
}

/** Makes the next start of the engine try again. */
export async function forgetAccelerator(folder: string): Promise<void> {
  await rm(join(folder, VERDICT_FILE), { force: true });
}

/** Returns the key of a result. It includes the boot id, because a restart may change what the host can do. */
async function verdictKey(host: Host): Promise<string> {
  const bootId = await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => '');
  return [release(), bootId.trim(), host.qemu.version, host.cpu.identity.split('\n', 4).join(' ')].join('; ');
}

async function readVerdict(path: string): Promise<z.infer<typeof VerdictFile> | undefined> {
  try {
    return VerdictFile.parse(JSON.parse(await readFile(path, 'utf8')));
  } catch {
    return undefined;
  }
}
