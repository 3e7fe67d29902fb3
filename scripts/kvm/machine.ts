import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createReadStream, existsSync, readdirSync, readFileSync } from 'node:fs';
import { open, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buildLayer } from '../../src/layers/build-layer.ts';
import { CHARACTER_DEVICE, cpio, type CpioEntry, DIRECTORY, EXECUTABLE, FILE } from '../guest/cpio.ts';
import { resolveModules } from '../guest/modules.ts';
import { cachedPackage } from '../guest/updates.ts';
import { command } from '../support/command.ts';
import { cached, debianRoot, packagesKey } from '../support/debian-image.ts';
import { bundleProgram } from '../support/program.ts';

const ROOT = join(import.meta.dirname, '../..');
/** Holds the package that the guest's kernel comes from; its modules include KVM. */
const KERNELS = join(ROOT, 'guest/cache');
/** Programs that the product and its tests need of a system. */
const PACKAGES = ['bubblewrap', 'busybox-static', 'e2fsprogs', 'qemu-system-x86', 'qemu-utils'];
/** Modules that are loaded at boot, and those that the tests load. */
const MODULES = { modules: ['virtio_pci', 'virtio_blk', 'erofs', 'ext4'], kvm: ['kvm_amd'] };
/**
 * One processor in one thread: with several, QEMU 7.2 corrupted memory of Node on this machine in most runs (failed checks of
 * V8, SIGSEGV), and the tests took no less time.
 */
const EMULATION = ['-accel', 'tcg,thread=single', '-cpu', 'max,-pku,+svm,+npt', '-smp', '1'];
const SCRATCH_BYTES = 16 * 1024 ** 3;
const MEMORY_MIB = 4_096;

/** Files that the machine is made of. */
export interface MachineFiles {
  readonly kernel: string;
  readonly initramfs: string;
  /** Debian with our packages, the repository, and an empty disk for what is written: /, /srv and /tmp. */
  readonly disks: readonly [system: string, tree: string, scratch: string];
}

/** Makes the files in `folder`, but for the system's disk, which is cached. */
export async function machineFiles(folder: string): Promise<MachineFiles> {
  const { kernel, modules } = kernelFiles();
  const initramfs = join(folder, 'initramfs');
  const tree = join(folder, 'tree');
  const scratch = join(folder, 'scratch');
  const busybox = await command('sh', ['-c', 'command -v busybox']);
  await writeFile(initramfs, initramfsOf(busybox.trim(), modules, folder));
  await makeTreeDisk(tree, join(folder, 'bundle'));
  await makeScratchDisk(scratch);
  return { kernel, initramfs, disks: [await systemDisk(), tree, scratch] };
}

/** Returns the arguments of the QEMU that is the machine; how the tests ended is written to `report`. */
export function machineArguments(
  { kernel, initramfs, disks }: MachineFiles,
  { chosen, report }: { readonly chosen: readonly string[]; readonly report: string },
): string[] {
  const append = `console=ttyS0 quiet loglevel=3 panic=-1 mitigations=off contree.tests=${chosen.join(',')}`;
  return [
    ['-nodefaults', '-no-user-config', '-no-reboot', '-display', 'none'],
    ['-machine', 'q35', ...EMULATION, '-m', `${MEMORY_MIB}M`],
    ['-kernel', kernel, '-initrd', initramfs, '-append', append],
    ['-serial', 'stdio', '-serial', `file:${report}`],
    ...disks.map((path, index) => ['-drive', `file=${path},format=raw,if=virtio,readonly=${index < 2 ? 'on' : 'off'}`]),
  ].flat();
}

function kernelFiles(): { readonly kernel: string; readonly modules: string } {
  const folder = cachedPackage(KERNELS);
  if (folder === undefined) throw new Error('guest/cache holds no kernel: run guest/build --force');
  const boot = join(folder, 'root/boot');
  const image = readdirSync(boot).find((name) => name.startsWith('vmlinuz-'));
  const modules = ['root/lib/modules', 'root/usr/lib/modules'].map((path) => join(folder, path)).find(existsSync);
  const [release] = modules === undefined ? [] : readdirSync(modules);
  if (image === undefined || modules === undefined || release === undefined) {
    throw new Error(`${folder} holds no kernel with modules`);
  }
  return { kernel: join(boot, image), modules: join(modules, release) };
}

function initramfsOf(busybox: string, modules: string, scratch: string): Buffer {
  const members = (folder: string, names: readonly string[]): CpioEntry[] => {
    const wanted = names.map((name) => ({ name, optional: true }));
    return resolveModules(modules, scratch, wanted).map(({ name, content }, index) => ({
      path: `${folder}/${String(index).padStart(2, '0')}-${name}.ko`,
      mode: FILE,
      content,
    }));
  };
  return cpio([
    ...['bin', 'dev', 'modules', 'kvm', 'system'].map((path) => ({ path, mode: DIRECTORY })),
    { path: 'dev/console', mode: CHARACTER_DEVICE, device: [5, 1] },
    { path: 'bin/busybox', mode: EXECUTABLE, content: readFileSync(busybox) },
    { path: 'init', mode: EXECUTABLE, content: readFileSync(join(import.meta.dirname, 'init')) },
    ...members('modules', MODULES.modules),
    ...members('kvm', MODULES.kvm),
  ]);
}

async function systemDisk(): Promise<string> {
  const folder = await cached(`kvm-${packagesKey(PACKAGES)}`, async (staged) => {
    const tar = join(staged, 'root.tar');
    await debianRoot(PACKAGES, tar, []);
    await buildLayer(createReadStream(tar), join(staged, 'root.erofs'));
    await rm(tar);
  });
  return join(folder, 'root.erofs');
}

/** Makes a disk of the repository with its guest, Node, and the packages that the program's bundle, made at `bundle`, uses. */
async function makeTreeDisk(target: string, bundle: string): Promise<void> {
  const { packages: folders } = await bundleProgram(ROOT, bundle);
  const packages = folders.map((folder) => folder.slice(folder.indexOf('/node_modules/') + 1));
  const paths = ['package.json', 'bin', 'src', 'test', 'scripts', 'guest/dist', 'node_modules/node', ...packages];
  const tar = spawn('tar', ['-ch', '--owner=0', '--group=0', '-f', '-', ...paths], {
    cwd: ROOT,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = once(tar, 'exit');
  await buildLayer(tar.stdout, target);
  const [code] = await ended;
  if (code !== 0) throw new Error(`tar ended with ${code}`);
}

async function makeScratchDisk(path: string): Promise<void> {
  await using file = await open(path, 'w');
  await file.truncate(SCRATCH_BYTES);
  await command('sh', ['-c', 'PATH=$PATH:/usr/sbin:/sbin exec mke2fs -q -F -t ext4 -E lazy_itable_init=1 "$0"', path]);
}
