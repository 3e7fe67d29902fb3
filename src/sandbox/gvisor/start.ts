import { type FileHandle, open } from 'node:fs/promises';
import { fault, isFault } from '../../contract/errors.ts';
import { Channel } from '../channel/index.ts';
import { ChannelInstance } from '../channel-instance.ts';
import type { BootSpec, Instance } from '../driver.ts';
import { type Cgroup, PROCESSES_MAX } from '../host/cgroup.ts';
import type { Identity } from '../host/identity.ts';
import { namelessFile } from '../host/nameless-file.ts';
import { endedSoon } from '../jailed-process.ts';
import { type GuestLink, guestSetup, type NetworkOptions, openNetwork } from '../network/index.ts';
import { Stopwatch } from '../stopwatch.ts';
import { SANDBOX_FD } from './bundle.ts';
import type { MountableLayer } from './layers.ts';
import type { GvisorPlatform } from './platform.ts';
import { SandboxProcess } from './process.ts';
import { storageFault } from './storage.ts';

/** Sandbox to start, and its user. */
export interface SandboxStart {
  readonly spec: BootSpec;
  readonly identity: Identity | undefined;
  readonly network: NetworkOptions;
}

/** Memory of gVisor's own kernel. */
const OVERHEAD_MIB = 1_024;

/**
 * Starts a sandbox over the layers of an image and waits until it takes commands. The instance owns `resources` from then on;
 * until then the caller does. Rejects with DRIVER_UNAVAILABLE or GUEST_BOOT_TIMEOUT.
 */
export async function startSandbox(
  platform: GvisorPlatform,
  start: SandboxStart,
  resources: AsyncDisposableStack,
  signal: AbortSignal,
): Promise<Instance> {
  const { spec } = start;
  const steps = new Stopwatch();
  // Open until the instance ends, so that a full disk is still full when the reason for the end is looked for.
  const disk = resources.use(await namelessFile(platform.scratch, 'r+', new Uint8Array()));
  const network = resources.use(await openNetwork(spec.network, start.network, signal));
  const { cpus, memoryMib } = spec;
  const bounds = { cpus, memoryMib, overheadMib: OVERHEAD_MIB + platform.copiedMib };
  const cgroup = await platform.cgroups?.create(bounds, spec.diskBytes, PROCESSES_MAX.gvisor);
  if (cgroup !== undefined) resources.use(cgroup);
  const layers = await Promise.all(spec.layers.map((layer) => platform.layers.mountable(layer, signal)));
  steps.done('prepare');
  const sandbox = resources.use(await spawnSandbox(platform, start, { disk, layers, link: network.guest, cgroup }));
  network.attach(sandbox.frames);
  const channel = resources.use(new Channel(sandbox.agent));
  steps.done('start');
  const extents = spec.layers.map(({ bytes }) => ({ offset: 0, bytes }));
  const setup = guestSetup(spec, extents, network.guest);
  const { hello, ready } = await whenReady({ sandbox, channel, startMsMax: platform.startMsMax }, setup, signal);
  const guestMs = Object.values(ready.stepsMs).reduce((sum, ms) => sum + ms, 0);
  steps.done('boot', guestMs);
  const facts = {
    sandbox: 'gvisor',
    accelerator: 'none',
    jail: await sandbox.facts(),
    kernel: hello.kernel,
    bootId: ready.bootId,
    stepsMs: { ...steps.takenMs, ...ready.stepsMs },
  } as const;
  const fullDisk = (): Promise<Error | undefined> => storageFault(platform.scratch);
  const reasonOf = async (error: Error): Promise<Error> => {
    if (!isFault(error, 'GUEST_LOST')) return error;
    const reason = await endedSoon(sandbox.ended);
    const full = await fullDisk();
    if (full !== undefined) return full;
    return reason === undefined ? error : fault('GUEST_LOST', { reason }, { cause: error });
  };
  return new ChannelInstance(facts, { channel, network, resources, reasonOf, storageFault: fullDisk });
}

/** Parts of a run that are made or found before its sandbox starts. */
interface Prepared {
  readonly disk: FileHandle;
  readonly layers: readonly MountableLayer[];
  readonly link: GuestLink | undefined;
  readonly cgroup: Cgroup | undefined;
}

async function spawnSandbox(
  platform: GvisorPlatform,
  { spec, identity }: SandboxStart,
  { disk, layers, link, cgroup }: Prepared,
): Promise<SandboxProcess> {
  await using files = new AsyncDisposableStack();
  const root = files.use(await open(platform.root, 'r'));
  const descriptors = new Map<number, number>([
    [SANDBOX_FD.disk, disk.fd],
    [SANDBOX_FD.root, root.fd],
  ]);
  for (const [index, { path }] of layers.entries()) {
    descriptors.set(SANDBOX_FD.firstLayer + index, files.use(await open(path, 'r')).fd);
  }
  const copied = new Map<string, number>();
  const { shown, copied: programs } = platform.closed;
  for (const [index, path] of programs.entries()) {
    const number = SANDBOX_FD.firstLayer + layers.length + index;
    descriptors.set(number, files.use(await open(path, 'r')).fd);
    copied.set(path, number);
  }
  const { cpus, memoryMib, diskBytes } = spec;
  const extracted = layers.flatMap((layer, index) => (layer.extracted ? [index + 1] : []));
  const shape = { layers: layers.length, extracted, cpus, memoryMib, diskBytes };
  const groups = cgroup?.entrances ?? [];
  return new SandboxProcess({ jail: platform.jail, identity, shape, link, shown, copied, groups, descriptors });
}

interface Started {
  readonly sandbox: SandboxProcess;
  readonly channel: Channel;
  readonly startMsMax: number;
}

async function whenReady(
  { sandbox, channel, startMsMax }: Started,
  setup: Parameters<Channel['setup']>[0],
  signal: AbortSignal,
) {
  const deadline = AbortSignal.timeout(startMsMax);
  const either = AbortSignal.any([signal, deadline]);
  try {
    const [hello, ready] = await Promise.all([channel.hello(either), channel.setup(setup, either)]);
    return { hello, ready };
  } catch (error) {
    signal.throwIfAborted();
    if (deadline.aborted) {
      throw fault('GUEST_BOOT_TIMEOUT', { seconds: startMsMax / 1_000 }, { cause: error });
    }
    if (!isFault(error, 'GUEST_LOST')) throw error;
    const reason = (await endedSoon(sandbox.ended)) ?? error.message;
    throw fault('DRIVER_UNAVAILABLE', { reason }, { cause: error });
  }
}
