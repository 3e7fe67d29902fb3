import { limits } from '../../../contract/limits.ts';

export type Accelerator = 'kvm' | 'emulated';

/** Properties of the virtual hardware that a guest can see. Two that differ in any of them need two templates. */
export interface Machine {
  readonly accelerator: Accelerator;
  readonly cpus: number;
  readonly memoryMib: number;
}

/** Descriptors of every QEMU: sockets to the engine, except its RAM. `info` and `go` are closed when QEMU starts. */
export const FD = { qmp: 3, agent: 4, network: 5, console: 6, info: 7, go: 8, ram: 9 } as const;
/** Descriptors of a QEMU that boots the guest to make a template. */
export const BOOT_FD = { disk: 10, saveFolder: 11, kernel: 12, initramfs: 13 } as const;
/** Descriptors of a QEMU that restores a template; the layers and their padding follow `firstExtent`. */
export const RESTORE_FD = { state: 10, disk: 11, overlay: 12, layers: 13, firstExtent: 14 } as const;

/** Size of the disk with the layers: fixed, because the template remembers it. */
export const LAYERS_DISK_BYTES = 1024 ** 4;
/** Size of the writable disk: the largest layer a run may make, and room for the filesystem's own tables. */
export const DISK_BYTES = limits.layerBytesMax + 2 * 1024 ** 3;

/** Limit of QEMU's cache of translated code under emulation, which bounds QEMU's own memory. */
const TRANSLATION_CACHE_MIB = 256;
/** Memory that QEMU may need besides the guest's. */
export const OVERHEAD_MIB = TRANSLATION_CACHE_MIB + 256;

/** Name of the socket for the device state, in the folder that QEMU was given as `BOOT_FD.saveFolder`. */
export const SAVE_SOCKET = 'save.sock';

/**
 * Arguments of the QEMU that boots a guest until it can be saved. The layers are not known yet, so their disk reads as
 * zeroes; it is of the kind that may be saved, which a vmdk is not.
 */
export function bootArguments(machine: Machine, commandLine: string): string[] {
  const layers = { driver: 'null-co', size: LAYERS_DISK_BYTES, 'read-zeroes': true, 'read-only': true };
  return [
    ...machineArguments(machine, 'on'),
    ...fdsets([BOOT_FD.disk]),
    ...blockdev('layers', layers),
    ...blockdev('disk', { driver: 'raw', file: file(BOOT_FD.disk) }),
    ...diskArguments(),
    ['-kernel', `/proc/self/fd/${BOOT_FD.kernel}`],
    ['-initrd', `/proc/self/fd/${BOOT_FD.initramfs}`],
    ['-append', commandLine],
  ].flat();
}

/** Arguments of the QEMU that continues a saved guest over `layerCount` layers. It needs neither kernel nor initramfs. */
export function restoreArguments(machine: Machine, layerCount: number): string[] {
  const { disk, overlay, layers, firstExtent } = RESTORE_FD;
  // One more extent than layers: the padding.
  const extents = Array.from({ length: layerCount + 1 }, (_, index) => firstExtent + index);
  const written = {
    driver: 'qcow2',
    file: { ...file(overlay), discard: 'unmap' },
    backing: 'blank',
    discard: 'unmap',
    // The disk is not read after the run, so the effect of a power cut on it does not matter.
    cache: { 'no-flush': true },
  };
  return [
    ...machineArguments(machine, 'off'),
    ...fdsets([disk, overlay, layers, ...extents]),
    ...blockdev('layers', { driver: 'vmdk', 'read-only': true, file: file(layers) }),
    ...blockdev('blank', { driver: 'raw', 'read-only': true, file: file(disk) }),
    ...blockdev('disk', written),
    ...diskArguments(),
    ['-incoming', 'defer'],
  ].flat();
}

type Argument = readonly string[];

interface Block {
  readonly [option: string]: string | number | boolean | Block;
}

/** Returns a block device for a file that QEMU gets as a descriptor and whose format it never guesses. */
function file(descriptor: number): Block {
  return { driver: 'file', filename: `/dev/fdset/${descriptor}`, locking: 'off' };
}

function fdsets(descriptors: readonly number[]): Argument[] {
  return descriptors.map((number) => ['-add-fd', `fd=${number},set=${number}`]);
}

function blockdev(name: string, block: Block): Argument[] {
  return [['-blockdev', JSON.stringify({ 'node-name': name, ...block })]];
}

function diskArguments(): Argument[] {
  return [
    ['-device', 'virtio-blk-device,drive=layers,serial=layers'],
    // A failed write must not go unnoticed, and a guest may miss it. So the machine stops, and `Qmp` reports the reason.
    ['-device', 'virtio-blk-device,drive=disk,serial=disk,werror=stop'],
  ];
}

/** The part of the arguments that must be the same at boot and at restore. */
function machineArguments(machine: Machine, share: 'on' | 'off'): Argument[] {
  const { cpus, memoryMib } = machine;
  // QEMU opens the RAM by name, also where it inherited it: hence the detour through /proc. Merging equal pages (KSM) would let
  // one guest learn what is in the memory of another.
  const ram = `memory-backend-file,id=ram,size=${memoryMib}M,mem-path=/proc/self/fd/${FD.ram},share=${share},merge=off,dump=off`;
  return [
    ['-nodefaults', '-no-user-config', '-no-reboot'],
    ['-display', 'none'],
    ['-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny'],
    ['-machine', 'microvm,pic=off,pit=off,rtc=on,isa-serial=on,memory-backend=ram'],
    ...acceleratorArguments(machine),
    ['-smp', `cpus=${cpus}`],
    ['-m', `${memoryMib}M`],
    ['-object', ram],
    ['-chardev', `socket,id=qmp,fd=${FD.qmp}`],
    ['-mon', 'chardev=qmp,mode=control'],
    ['-chardev', `socket,id=console,fd=${FD.console}`],
    ['-serial', 'chardev:console'],
    ['-device', 'virtio-serial-device'],
    ['-chardev', `socket,id=agent,fd=${FD.agent}`],
    ['-device', 'virtserialport,chardev=agent,name=contree'],
    ['-netdev', `stream,id=net,addr.type=fd,addr.str=${FD.network}`],
    // The agent gives every run its own address.
    ['-device', 'virtio-net-device,netdev=net,mac=02:00:00:00:00:01'],
  ];
}

function acceleratorArguments({ accelerator, cpus }: Machine): Argument[] {
  if (accelerator === 'kvm') {
    // Nested virtualisation would only enlarge what has to be trusted.
    return [
      ['-accel', 'kvm'],
      ['-cpu', 'host,-vmx,-svm'],
    ];
  }
  const threads = cpus > 1 ? 'multi' : 'single';
  return [
    ['-accel', `tcg,thread=${threads},tb-size=${TRANSLATION_CACHE_MIB}`],
    // Translating these costs a guest more than they give it: copies by `rep movs`, a switch at every access to user
    // memory, a fifth level of page tables. Saving 200 MB is three times as fast without (docs/decisions/0011-guest.md).
    ['-cpu', 'max,-erms,-fsrm,-smap,-la57'],
  ];
}
