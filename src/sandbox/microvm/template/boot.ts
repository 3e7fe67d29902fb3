import { createServer, type Server, type Socket } from 'node:net';
import { once } from 'node:events';
import { chmod, open, rm, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { pause } from '../../../std/abort.ts';
import { collect } from '../../../std/bytes.ts';
import { fault } from '../../../contract/errors.ts';
import { present } from '../../../std/present.ts';
import { Channel } from '../../channel/index.ts';
import type { HostDevice } from '../host/accelerator.ts';
import type { Cgroups } from '../../host/cgroup.ts';
import type { Guest } from '../../host/guest.ts';
import type { Host } from '../host/host.ts';
import type { Identity } from '../../host/identity.ts';
import type { Jail } from '../host/jail.ts';
import { BOOT_FD, bootArguments, DISK_BYTES, FD, type Machine, OVERHEAD_MIB, SAVE_SOCKET } from '../vm/machine.ts';
import { commandLine } from './template.ts';
import { endedSoon } from '../../jailed-process.ts';
import { Vmm } from '../vm/vmm.ts';
import { waitedForProcessor, Watchdog } from './watchdog.ts';

/** Parts that all boots on this host share. */
export interface BootHost {
  readonly host: Host;
  readonly jail: Jail;
  readonly guest: Guest;
  readonly identity: Identity | undefined;
  readonly device?: HostDevice;
  readonly cgroups?: Cgroups;
}

export interface BootFiles {
  /** Folder of the socket on which the device state arrives. */
  readonly folder: string;
  readonly disk: FileHandle;
  /** Holds the guest's memory when it is saved. */
  readonly ram: FileHandle;
}

export interface Saved {
  readonly kernel: string;
  /** The state of processors and devices, without memory. */
  readonly state: Buffer;
}

/** Limit of the device state, which has some 70 KB in practice. */
const STATE_BYTES_MAX = 16 * 1024 ** 2;
const POLL_MS = 2;

/**
 * Boots a guest, waits until it reports that it is waiting, and saves it. Its memory is then in `files.ram`. Rejects with
 * GUEST_BOOT_TIMEOUT when it made no progress for `stallMs`, or is not ready after `guestBootMsMax`.
 */
export async function bootAndSave(
  boot: BootHost,
  machine: Machine,
  { files, stallMs }: { readonly files: BootFiles; readonly stallMs: number },
  signal: AbortSignal,
): Promise<Saved> {
  const { host, jail, guest, identity, device, cgroups } = boot;
  await using cgroup = await cgroups?.create({ ...machine, overheadMib: OVERHEAD_MIB }, DISK_BYTES);
  await using vmlinux = await open(guest.vmlinuxPath, 'r');
  await using initramfs = await open(guest.initramfsPath, 'r');
  await using folder = await open(files.folder, 'r');
  await using vmm = new Vmm({
    jail,
    identity,
    limits: { machine, fileBytesMax: DISK_BYTES },
    ...present({ device, cgroup }),
    arguments: bootArguments(machine, commandLine(guest, host, machine.accelerator)),
    descriptors: new Map([
      [FD.ram, files.ram.fd],
      [BOOT_FD.disk, files.disk.fd],
      [BOOT_FD.saveFolder, folder.fd],
      [BOOT_FD.kernel, vmlinux.fd],
      [BOOT_FD.initramfs, initramfs.fd],
    ]),
  });
  vmm.network.resume();
  using channel = new Channel(vmm.agent);
  const startedMs = performance.now();
  using watchdog = new Watchdog(stallMs, {
    touched: () => bytesTouched(files.ram),
    waitedMs: () => waitedForProcessor(vmm.jailPid ?? vmm.pid),
  });
  const ends = AbortSignal.any([signal, watchdog.signal]);
  try {
    const { kernel } = await channel.hello(ends);
    return { kernel, state: await save(vmm, files.folder, folder, ends) };
  } catch (error) {
    signal.throwIfAborted();
    if (watchdog.signal.aborted) {
      const seconds = Math.round((performance.now() - startedMs) / 1_000);
      throw fault('GUEST_BOOT_TIMEOUT', { seconds }, { cause: error });
    }
    const ended = await endedSoon(vmm.ended);
    throw ended === undefined ? error : fault('GUEST_LOST', { reason: ended.reason }, { cause: error });
  }
}

/** Returns how much of a guest's memory was ever written, because its file starts as a hole. 0 when the file is closed. */
async function bytesTouched(ram: FileHandle): Promise<number> {
  return ram.stat().then(
    ({ blocks }) => blocks * 512,
    () => 0,
  );
}

/** Has QEMU send the device state to a socket in `folder`; the memory stays in its file. */
async function save(vmm: Vmm, path: string, folder: FileHandle, signal: AbortSignal): Promise<Buffer> {
  const socketPath = join(path, SAVE_SOCKET);
  await rm(socketPath, { force: true });
  await using server = createServer();
  // Through the descriptor, because the name of a socket is at most 107 bytes long.
  server.listen(`/proc/self/fd/${folder.fd}/${SAVE_SOCKET}`);
  await once(server, 'listening', { signal });
  await allowEverybody(path, socketPath);
  const incoming = receive(server, signal);
  incoming.catch(() => {});
  await vmm.qmp.execute('migrate-set-capabilities', { capabilities: [{ capability: 'x-ignore-shared', state: true }] });
  await vmm.qmp.execute('migrate', { uri: `unix:/proc/self/fd/${BOOT_FD.saveFolder}/${SAVE_SOCKET}` });
  await completed(vmm, signal);
  const state = await incoming;
  await rm(socketPath, { force: true });
  return state;
}

/** Opens folder and socket to all users. They still need a descriptor of the folder: only the engine can enter its parent. */
async function allowEverybody(folder: string, socket: string): Promise<void> {
  await chmod(folder, 0o711);
  await chmod(socket, 0o666);
}

async function receive(server: Server, signal: AbortSignal): Promise<Buffer> {
  const [socket] = (await once(server, 'connection', { signal })) as [Socket];
  return collect(socket, STATE_BYTES_MAX);
}

async function completed(vmm: Vmm, signal: AbortSignal): Promise<void> {
  while (true) {
    const { status } = (await vmm.qmp.execute('query-migrate')) as { status?: string };
    if (status === 'completed') return;
    if (status === 'failed' || status === 'cancelled') throw fault('GUEST_LOST', { reason: `saving ${status}` });
    await pause(POLL_MS, signal);
  }
}
