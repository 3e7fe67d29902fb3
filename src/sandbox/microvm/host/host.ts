import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fault } from '../../../contract/errors.ts';
import { existing, findTools, missing, type HostProgram, PROGRAMS } from '../../host/programs.ts';
import { runTool } from '../../host/tool.ts';

/** Programs, files and processor of this host, as far as a microVM needs them; found once. */
export interface Host {
  readonly qemu: { readonly path: string; readonly version: string };
  readonly bwrap: { readonly path: string; readonly version: string };
  readonly tools: Readonly<Record<HostProgram, string>>;
  /** Absolute paths of all files that QEMU reads on the host: the program, its libraries and modules, its firmware. */
  readonly qemuFiles: readonly string[];
  /** Key that changes when any of `qemuFiles` does: package, size, time. */
  readonly qemuIdentity: string;
  readonly cpu: HostCpu;
}

export interface HostCpu {
  /** Model, stepping, microcode and features, on which a saved guest on KVM depends. */
  readonly identity: string;
  /** Frequency of the time stamp counter, kHz. */
  readonly tscKhz: number;
}

const MODULE_FOLDERS = ['/usr/lib/x86_64-linux-gnu/qemu', '/usr/lib64/qemu', '/usr/lib/qemu'];
const FIRMWARE_FOLDERS = ['/usr/share/qemu', '/usr/share/seabios', '/usr/local/share/qemu'];
/** Module for emulation, which some packages have separately. */
const EMULATION_MODULE = 'accel-tcg-x86_64.so';
const FIRMWARE = 'bios-microvm.bin';
/** First release that supports a network on an inherited socket (`-netdev stream,addr.type=fd`). */
const QEMU_VERSION_MIN = [7, 2] as const;

/** Inspects the host. Rejects with DRIVER_UNAVAILABLE, which names everything to install. */
export async function surveyHost(signal: AbortSignal): Promise<Host> {
  const programs = await findTools(Object.keys(PROGRAMS) as HostProgram[]);
  const { 'qemu-system-x86_64': qemu, bwrap } = programs;
  const firmwareFolders = await existing(FIRMWARE_FOLDERS);
  const firmware = await existing(firmwareFolders.map((folder) => join(folder, FIRMWARE)));
  if (firmware.length === 0) throw missing([`QEMU's ${FIRMWARE}`], ['seabios']);
  const module = await existing(MODULE_FOLDERS.map((folder) => join(folder, EMULATION_MODULE)));
  const [qemuVersion, bwrapVersion, shared, cpu] = await Promise.all([
    versionOf(qemu, signal),
    versionOf(bwrap, signal),
    libraries([qemu, ...module], signal),
    hostCpu(),
  ]);
  checkVersion(qemuVersion);
  const qemuFiles = [qemu, ...module, ...shared, ...firmwareFolders];
  return {
    qemu: { path: qemu, version: qemuVersion },
    bwrap: { path: bwrap, version: bwrapVersion },
    tools: programs,
    qemuFiles,
    qemuIdentity: await identityOf([...qemuFiles, ...firmware]),
    cpu,
  };
}

async function versionOf(path: string, signal: AbortSignal): Promise<string> {
  const text = await runTool(path, ['--version'], signal);
  return /\d+(?:\.\d+)+/u.exec(text)?.[0] ?? 'unknown';
}

function checkVersion(version: string): void {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const [majorMin, minorMin] = QEMU_VERSION_MIN;
  if (major > majorMin || (major === majorMin && minor >= minorMin)) return;
  throw fault('DRIVER_UNAVAILABLE', {
    reason: `QEMU ${version} is too old`,
    remedy: `install QEMU ${majorMin}.${minorMin} or newer`,
  });
}

/** Returns the shared libraries that the programs load, as the loader lists them. */
export async function libraries(programs: readonly string[], signal: AbortSignal): Promise<string[]> {
  const text = await runTool('ldd', programs, signal);
  const paths = [...text.matchAll(/(\/\S+) \(0x/gu)].map(([, path = '']) => path);
  return [...new Set(paths)];
}

async function identityOf(paths: readonly string[]): Promise<string> {
  const lines = paths.map(async (path) => {
    const { size, mtimeMs } = await stat(path);
    return `${path} ${size} ${mtimeMs}`;
  });
  return (await Promise.all(lines)).join('\n');
}

async function hostCpu(): Promise<HostCpu> {
  const first = (await readFile('/proc/cpuinfo', 'utf8')).split('\n\n', 1)[0] ?? '';
  const field = (name: string): string => new RegExp(`^${name}\\s*: (.*)$`, 'mu').exec(first)?.[1] ?? '';
  const names = ['vendor_id', 'cpu family', 'model', 'model name', 'stepping', 'microcode', 'flags'];
  // Twice the loops per jiffy, which the kernel derives from the time stamp counter; "cpu MHz" changes with the load.
  const tscKhz = Math.round(Number(field('bogomips')) * 500);
  return { identity: names.map(field).join('\n'), tscKhz };
}
