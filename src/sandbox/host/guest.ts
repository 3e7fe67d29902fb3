import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { fault } from '../../contract/errors.ts';
import { hashFile } from '../../std/files.ts';

const GuestFile = z.object({ sha256: z.string().regex(/^[0-9a-f]{64}$/u), bytes: z.int().positive() });
const GuestManifest = z.object({
  format: z.literal(1),
  kernel: z.string(),
  /** Version of the kernel's package and day of its build, where the kernel names them. */
  build: z.object({ version: z.string(), date: z.iso.date() }).optional(),
  cmdline: z.string(),
  files: z.object({
    vmlinux: GuestFile,
    'initramfs.cpio': GuestFile,
    'contree-host-helper': GuestFile,
    /** Absent from folders that an older version made. */
    'contree-agent': GuestFile.optional(),
  }),
});

/** A program: the host helper for what Node cannot do (guest/host-helper), or the agent. */
export interface HelperFile {
  readonly path: string;
  readonly sha256: string;
}

/** The kernel and the initramfs with the agent, as `guest/build` makes them (docs/guest-protocol.md §1). */
export interface Guest {
  readonly kernel: string;
  /** Version of the kernel's package and day of its build (`2026-11-26`), where it names them. */
  readonly build: { readonly version: string; readonly date: string } | undefined;
  readonly commandLine: string;
  readonly vmlinuxPath: string;
  readonly initramfsPath: string;
  /** Digests of both files. */
  readonly identity: string;
  readonly helper: HelperFile;
  /** The agent as a separate program, if the folder has it. */
  readonly agent: HelperFile | undefined;
}

const REMEDY = 'build the guest with guest/build, or name its folder in the setting guest-dir';

/** Rejects with DRIVER_UNAVAILABLE when the files are not there, or not those of the manifest. */
export async function loadGuest(folder: string): Promise<Guest> {
  try {
    const manifest = GuestManifest.parse(JSON.parse(await readFile(join(folder, 'manifest.json'), 'utf8')));
    const {
      vmlinux,
      'initramfs.cpio': initramfs,
      'contree-host-helper': helper,
      'contree-agent': agent,
    } = manifest.files;
    const [vmlinuxPath, initramfsPath] = [join(folder, 'vmlinux'), join(folder, 'initramfs.cpio')];
    const [helperPath, agentPath] = [join(folder, 'contree-host-helper'), join(folder, 'contree-agent')];
    for (const [path, { bytes }] of [
      [vmlinuxPath, vmlinux],
      [initramfsPath, initramfs],
      [helperPath, helper],
      ...(agent === undefined ? [] : [[agentPath, agent] as const]),
    ] as const) {
      const { size } = await stat(path);
      if (size !== bytes) throw new Error(`a file has ${size} bytes, not ${bytes}`);
    }
    const identity = `${vmlinux.sha256} ${initramfs.sha256}`;
    return {
      kernel: manifest.kernel,
      build: manifest.build,
      commandLine: manifest.cmdline,
      vmlinuxPath,
      initramfsPath,
      identity,
      helper: { path: helperPath, sha256: helper.sha256 },
      agent: agent && { path: agentPath, sha256: agent.sha256 },
    };
  } catch (cause) {
    throw fault('DRIVER_UNAVAILABLE', { reason: 'the guest kernel and agent are missing', remedy: REMEDY }, { cause });
  }
}

/** Compares the files with the manifest's digests: before a template is made of them, not for every run. */
export async function verifyGuest(guest: Guest): Promise<void> {
  const { vmlinuxPath, initramfsPath, helper } = guest;
  const digests = await Promise.all([vmlinuxPath, initramfsPath, helper.path].map((path) => hashFile(path)));
  if (digests.join(' ') === `${guest.identity} ${helper.sha256}`) return;
  throw fault('DRIVER_UNAVAILABLE', { reason: 'the guest kernel or agent is damaged', remedy: REMEDY });
}
