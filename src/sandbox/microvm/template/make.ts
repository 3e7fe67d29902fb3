import { open, rm, writeFile, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { fault, isFault } from '../../../contract/errors.ts';
import { bootAndSave, type BootHost } from './boot.ts';
import { verifyGuest } from '../../host/guest.ts';
import { DISK_BYTES, type Machine } from '../vm/machine.ts';
import { type PackedFile, packFile } from './sealed-file.ts';
import { type Made, TEMPLATE_FILES } from './template.ts';
import { runTool } from '../../host/tool.ts';

/**
 * Attempts, each with the time for which its guest may make no progress (`Watchdog`). An emulated kernel may hang silently
 * while it measures its clock, which a new attempt solves. A whole boot takes 2–3 s on an idle host.
 */
export const EMULATED_STALLS_MS: readonly number[] = [10_000, 15_000, 20_000, 30_000, 60_000];
/** The same with KVM, where a guest boots in a second on usual hosts, and on some never executes an instruction. */
export const KVM_STALLS_MS: readonly number[] = [5_000, 10_000];

/** Read and write for all users, in a folder that only we can enter: QEMU may run as another user. */
const SHARED_MODE = 0o666;
const MIB = 1024 ** 2;

/**
 * Boots a guest until it waits for its first run, and saves it in `folder`. One attempt for each of `stallsMs`. Rejects
 * with GUEST_BOOT_TIMEOUT or DRIVER_UNAVAILABLE.
 */
export async function makeTemplate(
  host: BootHost,
  machine: Machine,
  target: { readonly folder: string; readonly stallsMs: readonly number[]; readonly log: (message: string) => void },
  signal: AbortSignal,
): Promise<Made> {
  await verifyGuest(host.guest);
  let failure: unknown;
  for (const [index, stallMs] of target.stallsMs.entries()) {
    try {
      return await makeOnce(host, machine, { folder: target.folder, stallMs }, signal);
    } catch (error) {
      signal.throwIfAborted();
      failure = error;
      target.log(`boot ${index + 1} of a template failed: ${String(error)}`);
    }
  }
  if (!isFault(failure, 'GUEST_LOST', 'GUEST_PROTOCOL')) throw failure;
  throw fault('DRIVER_UNAVAILABLE', { reason: String(failure.detail['reason']) }, { cause: failure });
}

async function makeOnce(
  host: BootHost,
  machine: Machine,
  { folder, stallMs }: { readonly folder: string; readonly stallMs: number },
  signal: AbortSignal,
): Promise<Made> {
  const live = { disk: join(folder, 'disk.live'), ram: join(folder, 'ram.live'), state: join(folder, 'state.live') };
  await using stack = new AsyncDisposableStack();
  const disk = stack.use(await newFile(live.disk, DISK_BYTES));
  const ram = stack.use(await newFile(live.ram, machine.memoryMib * MIB));
  await makeFilesystem(host, live.disk, signal);
  const saved = await bootAndSave(host, machine, { files: { folder, disk, ram }, stallMs }, signal);
  await writeFile(live.state, saved.state);
  const pack = async (name: keyof typeof live): Promise<PackedFile> => {
    await using packed = await open(join(folder, TEMPLATE_FILES[name]), 'w', 0o600);
    const record = await packFile(live[name], packed, host.guest.helper.path, signal);
    await rm(live[name]);
    return record;
  };
  const files = { state: await pack('state'), disk: await pack('disk'), ram: await pack('ram') };
  return { kernel: saved.kernel, files };
}

/** Makes an empty or sparse file, and replaces that of an earlier attempt. */
async function newFile(path: string, bytes: number): Promise<FileHandle> {
  const file = await open(path, 'w+', SHARED_MODE);
  await file.chmod(SHARED_MODE);
  await file.truncate(bytes);
  return file;
}

/** Makes the file system of every run's writable disk; docs/guest-protocol.md §2 describes the options. */
async function makeFilesystem(host: BootHost, path: string, signal: AbortSignal): Promise<void> {
  const features = ['-O', '^has_journal,^resize_inode', '-E', 'lazy_itable_init=1,nodiscard'];
  await runTool(host.host.tools.mke2fs, ['-q', '-F', '-t', 'ext4', '-b', '4096', '-m', '0', ...features, path], signal);
}
