import { constants } from 'node:fs';
import { access, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fault } from '../../../contract/errors.ts';
import { runTool } from './tool.ts';

/** Programs, files and processor of this host, as far as a microVM needs them; found once. */
export interface Host {
  readonly qemu: { readonly path: string; readonly version: string };
  readonly bwrap: { readonly path: string; readonly version: string };
  readonly tools: Readonly<Record<Program, string>>;
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

/** Programs that a microVM needs, each with its Debian package. */
const PROGRAMS = {
  'qemu-system-x86_64': 'qemu-system-x86',
  bwrap: 'bubblewrap',
  mke2fs: 'e2fsprogs',
  setpriv: 'util-linux',
} as const;
type Program = keyof typeof PROGRAMS;

const PROGRAM_FOLDERS = ['/usr/bin', '/usr/sbin', '/usr/local/bin', '/usr/local/sbin', '/bin', '/sbin'];
const MODULE_FOLDERS = ['/usr/lib/x86_64-linux-gnu/qemu', '/usr/lib64/qemu', '/usr/lib/qemu'];
const FIRMWARE_FOLDERS = ['/usr/share/qemu', '/usr/share/seabios', '/usr/local/share/qemu'];
/** Module for emulation, which some packages have separately. */
const EMULATION_MODULE = 'accel-tcg-x86_64.so';
const FIRMWARE = 'bios-microvm.bin';
/** First release that supports a network on an inherited socket (`-netdev stream,addr.type=fd`). */
const QEMU_VERSION_MIN = [7, 2] as const;

/** Inspects the host. Rejects with DRIVER_UNAVAILABLE, which names everything to install. */
export async function surveyHost(signal: AbortSignal): Promise<Host> {
  const programs = await findTools(Object.keys(PROGRAMS) as Program[]);
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

function missing(what: readonly string[], packages: readonly string[]): Error {
  const remedy = `install it: apt-get install ${[...new Set(packages)].join(' ')}`;
  return fault('DRIVER_UNAVAILABLE', { reason: `this host lacks ${what.join(', ')}`, remedy });
}

/** Returns the paths of programs. Rejects with DRIVER_UNAVAILABLE, which names all that are missing. */
export async function findTools<Name extends Program>(names: readonly Name[]): Promise<Record<Name, string>> {
  const found = await Promise.all(names.map(async (name) => [name, await findProgram(name)] as const));
  const lacking = found.filter(([, path]) => path === undefined).map(([name]) => name);
  if (lacking.length > 0)
    throw missing(
      lacking,
      lacking.map((name) => PROGRAMS[name]),
    );
  return Object.fromEntries(found) as Record<Name, string>;
}

/** Returns the program's path, or undefined when no folder of the system has it. */
async function findProgram(name: string): Promise<string | undefined> {
  const paths = PROGRAM_FOLDERS.map((folder) => join(folder, name));
  return (await existing(paths, constants.X_OK))[0];
}

/** Returns the paths that can be read, or accessed according to `mode` (access(2)). */
export async function existing(paths: readonly string[], mode: number = constants.R_OK): Promise<string[]> {
  const found = await Promise.all(
    paths.map((path) =>
      access(path, mode).then(
        () => path,
        () => undefined,
      ),
    ),
  );
  return found.filter((path) => path !== undefined);
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
