import { availableParallelism } from 'node:os';
import type { GuestLink } from '../network/index.ts';

/** Descriptors of the jail: channel and frames are sockets to the engine; bubblewrap reports its child on `info`. */
export const SANDBOX_FD = {
  agent: 3,
  frames: 4,
  info: 5,
  spec: 6,
  flags: 7,
  disk: 8,
  root: 9,
  firstLayer: 10,
} as const;

/** Paths inside the jail. */
export const INSIDE = {
  bundle: '/bundle',
  helper: '/helper',
  runsc: '/gvisor/runsc',
  /** Programs that runsc starts instead of itself. */
  sidecars: '/gvisor/gvisor-bin',
  /** gVisor's own prewarmer, which the helper starts in turn. */
  prewarmer: '/gvisor/prewarmer',
} as const;

/** Names of files next to runsc, in `gvisor-bin/`, which its releases come with. */
export const SIDECARS = { sentry: 'gvisor_sentry', prewarmer: 'gvisor-sentry-prewarmer' } as const;

/** Paths at which the agent expects its files (guest/agent/src/container). */
const GUEST = { disk: '/disk', layers: '/layers', agent: '/init' } as const;

/** Number of the descriptor behind the disk (guest/host-helper/src/gvisor.rs); the guest must not see it. */
const DISK_MARK = 1_000;

/** All capabilities: root in the guest is root of gVisor's kernel only. */
const CAPABILITIES = [
  'AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID IPC_LOCK IPC_OWNER KILL',
  'LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE MKNOD NET_ADMIN NET_BIND_SERVICE NET_BROADCAST NET_RAW SETFCAP SETGID SETPCAP',
  'SETUID SYSLOG SYS_ADMIN SYS_BOOT SYS_CHROOT SYS_MODULE SYS_NICE SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE SYS_TIME',
  'SYS_TTY_CONFIG WAKE_ALARM',
]
  .flatMap((line) => line.split(' '))
  .map((name) => `CAP_${name}`);

/** Settings of one sandbox. */
export interface SandboxShape {
  readonly layers: number;
  /** Numbers, from 1, of the layers that are in their plain form (`writePlainLayer`). */
  readonly extracted: readonly number[];
  readonly cpus: number;
  readonly memoryMib: number;
  readonly diskBytes: number;
}

/**
 * Returns the OCI runtime configuration (runtime-spec, config.md) of a sandbox: the agent in its own root, every layer
 * mounted by gVisor's kernel from a descriptor, and a file of the driver that holds what the run writes.
 */
export function runtimeSpec({ layers, extracted, cpus, memoryMib, diskBytes }: SandboxShape): object {
  const folder = '/disk';
  const capabilities = { bounding: CAPABILITIES, effective: CAPABILITIES, permitted: CAPABILITIES };
  return {
    ociVersion: '1.0.0',
    process: {
      terminal: false,
      user: { uid: 0, gid: 0 },
      args: [
        GUEST.agent,
        'container',
        `layers=${layers}`,
        ...extracted.map((number) => `extracted=${number}`),
        `memory=${memoryMib * 1024 ** 2}`,
        `cpus=${cpus}`,
      ],
      env: [],
      cwd: '/',
      capabilities,
    },
    root: { path: `${INSIDE.bundle}/root`, readonly: true },
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc' },
      { destination: GUEST.disk, type: 'bind', source: folder, options: ['rw'] },
      ...Array.from({ length: layers }, (_, index) => ({
        destination: `${GUEST.layers}/${index + 1}`,
        type: 'erofs',
        source: `/proc/self/fd/${SANDBOX_FD.firstLayer + index}`,
        options: ['ro'],
      })),
    ],
    annotations: {
      'dev.gvisor.spec.rootfs.type': 'erofs',
      'dev.gvisor.spec.rootfs.source': `/proc/self/fd/${SANDBOX_FD.root}`,
      // A tmpfs whose memory is the file that is passed to the sandbox process (`sentryFlags`).
      'dev.gvisor.spec.mount.disk.type': 'tmpfs',
      'dev.gvisor.spec.mount.disk.share': 'container',
      'dev.gvisor.spec.mount.disk.source': folder,
      'dev.gvisor.spec.mount.disk.options': `rw,size=${diskBytes}`,
    },
    linux: {
      namespaces: [
        ...['pid', 'mount', 'ipc', 'uts'].map((type) => ({ type })),
        // The jail's own namespace, in which the helper made the interface.
        { type: 'network', path: '/proc/self/ns/net' },
      ],
    },
  };
}

/**
 * Fewest processors of gVisor's kernel, which are the threads that its Go runtime uses. With a single one it hands over between
 * its own work and a system call only every 10 ms, which delays each start.
 */
const KERNEL_CPUS_MIN = Math.min(2, availableParallelism());

/** Arguments that the helper adds to the command line of the sandbox process, because runsc has no setting for them. */
export function sentryFlags({ cpus, memoryMib }: SandboxShape): string {
  return [`--total-memory=${memoryMib * 1024 ** 2}`, `--cpu-num=${Math.max(cpus, KERNEL_CPUS_MIN)}`].join('\n');
}

/** Returns the command of the jail's first process: the helper, which starts runsc and forwards the frames of `link`. */
export function helperCommand(id: string, link: GuestLink | undefined): string[] {
  const network = link === undefined ? [] : linkSettings(link);
  return [
    INSIDE.helper,
    'gvisor',
    `frames=${SANDBOX_FD.frames}`,
    ...network,
    '--',
    INSIDE.runsc,
    '--root=/run',
    '--platform=systrap',
    `--network=${link === undefined ? 'none' : 'sandbox'}`,
    '--ignore-cgroups',
    // Frames are forwarded unchanged, so each must be one that a real link could carry.
    '--gso=false',
    '--host-uds=none',
    '--overlay2=none',
    '--in-sandbox-cgroup=v2',
    'run',
    `--pass-fd=${SANDBOX_FD.agent}:3`,
    `--pass-fd=${SANDBOX_FD.disk}:${DISK_MARK}`,
    `--bundle=${INSIDE.bundle}`,
    id,
  ];
}

function linkSettings(link: GuestLink): string[] {
  const { mac, mtuBytes, ip4, prefix4, gateway4, ip6, prefix6, gateway6 } = link;
  const settings = [`mac=${mac}`, `mtu=${mtuBytes}`, `ip4=${ip4}/${prefix4}/${gateway4}`];
  return ip6 === undefined ? settings : [...settings, `ip6=${ip6}/${prefix6}/${gateway6}`];
}
