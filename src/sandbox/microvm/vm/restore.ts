import { open, type FileHandle } from 'node:fs/promises';
import { assert } from '../../../std/assert.ts';
import { fault } from '../../../contract/errors.ts';
import type { LayerFile } from '../../../erofs/layer-file.ts';
import { limits } from '../../../contract/limits.ts';
import { present } from '../../../std/present.ts';
import { Channel, type GuestReady, type GuestSetup, type LayerExtent } from '../../channel/index.ts';
import type { BootSpec, Instance } from '../../driver.ts';
import { Stopwatch } from '../../stopwatch.ts';
import type { HostDevice } from '../host/accelerator.ts';
import type { Cgroup, Cgroups } from '../../host/cgroup.ts';
import { namelessFile } from '../../host/nameless-file.ts';
import { emptyQcow2, qcow2BytesMax, vmdkDescriptor, type DiskExtent } from './disk-image.ts';
import type { Identity } from '../../host/identity.ts';
import { microvmInstance } from './instance.ts';
import type { Jail } from '../host/jail.ts';
import {
  DISK_BYTES,
  FD,
  LAYERS_DISK_BYTES,
  type Machine,
  OVERHEAD_MIB,
  RESTORE_FD,
  restoreArguments,
} from './machine.ts';
import { guestSetup, type NetworkOptions, openNetwork } from '../../network/index.ts';
import type { Template } from '../template/template.ts';
import { endedSoon } from '../../jailed-process.ts';
import { Vmm } from './vmm.ts';

/** Parts that all runs on this host share. */
export interface RestoreHost {
  readonly jail: Jail;
  readonly device?: HostDevice;
  readonly cgroups?: Cgroups;
  /** Folder for files that lose their name before QEMU starts. */
  readonly scratch: string;
  /** A sparse file of `LAYERS_DISK_BYTES`. */
  readonly padding: FileHandle;
}

/** Request to restore a template over an image. */
export interface Restore {
  readonly machine: Machine;
  readonly template: Template;
  readonly spec: BootSpec;
  readonly identity: Identity | undefined;
  readonly network: NetworkOptions;
}

/** Number of QEMU starts whose time a restore may take on slow hosts. It usually takes about three. */
const RESTORE_STARTS_MAX = 50;
const EMPTY_DISK = emptyQcow2(DISK_BYTES);

/**
 * Continues a saved guest over the layers of an image and waits until it takes commands. The instance owns `resources` from
 * then on; until then the caller does.
 *
 * Rejects with DRIVER_UNAVAILABLE or GUEST_BOOT_TIMEOUT when the template does not continue, with GUEST_LOST when it does but
 * cannot become this run's machine.
 */
export async function restore(
  host: RestoreHost,
  run: Restore,
  resources: AsyncDisposableStack,
  signal: AbortSignal,
): Promise<Instance> {
  const { spec, template, machine } = run;
  const steps = new Stopwatch();
  const network = resources.use(await openNetwork(spec.network, run.network, signal));
  const cgroup = await host.cgroups?.create({ ...machine, overheadMib: OVERHEAD_MIB }, qcow2BytesMax(spec.diskBytes));
  if (cgroup !== undefined) resources.use(cgroup);
  const { vmm, extents } = await startVmm(host, run, cgroup);
  resources.use(vmm);
  network.attach(vmm.network);
  const channel = resources.use(new Channel(vmm.agent));
  steps.done('start');
  // Sent before QEMU runs: everything waits for its reader in the sockets.
  const setup = guestSetup(spec, extents, network.guest);
  const deadlineMs = Math.max(limits.guestRestoreMsMax, Math.round(RESTORE_STARTS_MAX * host.jail.startMs));
  const ready = await whenReady({ vmm, channel, deadlineMs }, setup, steps, signal);
  template.proven = true;
  const guestMs = Object.values(ready.stepsMs).reduce((sum, ms) => sum + ms, 0);
  steps.done('restore', guestMs);
  const facts = {
    sandbox: 'microvm' as const,
    accelerator: machine.accelerator,
    jail: await vmm.jailFacts(),
    kernel: template.kernel,
    bootId: ready.bootId,
    stepsMs: { ...steps.takenMs, ...ready.stepsMs },
  };
  return microvmInstance(facts, { vmm, channel, network, diskBytes: spec.diskBytes, resources });
}

async function whenReady(
  { vmm, channel, deadlineMs }: { readonly vmm: Vmm; readonly channel: Channel; readonly deadlineMs: number },
  setup: GuestSetup,
  steps: Stopwatch,
  signal: AbortSignal,
): Promise<GuestReady> {
  const deadline = AbortSignal.timeout(deadlineMs);
  const capabilities = [{ capability: 'x-ignore-shared', state: true }];
  const launched = vmm.qmp.execute('migrate-set-capabilities', { capabilities }).then(() => steps.done('launch'));
  const incoming = vmm.qmp.execute('migrate-incoming', { uri: `fd:${RESTORE_FD.state}` });
  try {
    const [ready] = await Promise.all([channel.setup(setup, AbortSignal.any([signal, deadline])), launched, incoming]);
    return ready;
  } catch (error) {
    signal.throwIfAborted();
    if (deadline.aborted) {
      throw fault('GUEST_BOOT_TIMEOUT', { seconds: Math.round(deadlineMs / 1_000) }, { cause: error });
    }
    const ended = await endedSoon(vmm.ended);
    if (ended === undefined || ended.byGuest) throw error;
    throw fault('DRIVER_UNAVAILABLE', { reason: ended.reason }, { cause: error });
  }
}

/** Starts the QEMU of a run, with the descriptors of its template, its layers and its own disk. */
export async function startVmm(
  host: RestoreHost,
  run: Restore,
  cgroup: Cgroup | undefined,
): Promise<{ readonly vmm: Vmm; readonly extents: readonly LayerExtent[] }> {
  const { machine, template, spec, identity } = run;
  const { extents, parts } = lineUp(spec.layers);
  await using files = new AsyncDisposableStack();
  const opened = await Promise.allSettled([
    // Each QEMU needs its own position in this one.
    open(`/proc/self/fd/${template.state.fd}`, 'r'),
    namelessFile(host.scratch, 'r+', EMPTY_DISK),
    namelessFile(host.scratch, 'r', vmdkDescriptor(parts)),
    ...spec.layers.map(async ({ path }) => open(path, 'r')),
  ]);
  for (const result of opened) if (result.status === 'fulfilled') files.use(result.value);
  const [state, overlay, descriptor, ...layers] = opened.map((result) => {
    if (result.status === 'rejected') throw result.reason;
    return result.value;
  });
  assert(state !== undefined && overlay !== undefined && descriptor !== undefined, 'all of them were opened');
  const vmm = new Vmm({
    jail: host.jail,
    identity,
    limits: { machine, fileBytesMax: qcow2BytesMax(spec.diskBytes) },
    ...present({ device: host.device, cgroup }),
    arguments: restoreArguments(machine, layers.length),
    descriptors: new Map([
      [FD.ram, template.ram.fd],
      [RESTORE_FD.state, state.fd],
      [RESTORE_FD.disk, template.disk.fd],
      [RESTORE_FD.overlay, overlay.fd],
      [RESTORE_FD.layers, descriptor.fd],
      ...[...layers, host.padding].map(({ fd }, index) => [RESTORE_FD.firstExtent + index, fd] as const),
    ]),
  });
  return { vmm, extents };
}

/** One layer after the other, then padding up to the size the guest remembers. */
function lineUp(layers: readonly LayerFile[]): { extents: LayerExtent[]; parts: DiskExtent[] } {
  let offset = 0;
  const extents = layers.map(({ bytes }) => {
    offset += bytes;
    return { offset: offset - bytes, bytes };
  });
  if (offset >= LAYERS_DISK_BYTES) throw fault('ARGUMENT_INVALID', { reason: 'the layers of the image are too large' });
  const sizes = [...layers.map(({ bytes }) => bytes), LAYERS_DISK_BYTES - offset];
  return { extents, parts: sizes.map((bytes, index) => ({ descriptor: RESTORE_FD.firstExtent + index, bytes })) };
}
