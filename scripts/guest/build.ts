import { spawnSync, type SpawnSyncReturns } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  globSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { CHARACTER_DEVICE, cpio, type CpioEntry, DIRECTORY, EXECUTABLE, FILE } from './cpio.ts';
import { hasPvhEntry, kernelBuild, kernelRelease, readKernel } from './kernel.ts';
import { AGENT_MODULES, resolveModules } from './modules.ts';
import { cachedPackage, downloadName, hasUpdate, refreshLists } from './updates.ts';

const ROOT = join(import.meta.dirname, '../..');
const AGENT = join(ROOT, 'guest/agent');
const HELPER = join(ROOT, 'guest/host-helper');
const HELPER_FILE = 'contree-host-helper';
/** The agent once more, outside the initramfs, as the init of gVisor sandboxes. */
const AGENT_FILE = 'contree-agent';
const DIST = join(ROOT, 'guest/dist');
/** Downloaded packages, kept so that rebuilding a changed agent needs no network. */
const CACHE = join(ROOT, 'guest/cache');

const USAGE = `guest/build: makes the kernel and the initramfs of the microVMs, and the host's helper, in guest/dist
  --package NAME   Debian package of the kernel (default linux-image-cloud-amd64)
  --kernel FILE    a kernel of your own (bzImage or vmlinux) instead, with
  --modules DIR    its modules, for example /lib/modules/6.1.0-9-amd64
  --force          build even if nothing has changed`;

/**
 * Kernel command line of every boot. Mitigations between processes, and monitoring, are off: our guest has a single
 * user, and under emulation each of them is expensive.
 */
const CMDLINE = [
  'quiet loglevel=1 panic=-1 reboot=t random.trust_cpu=on',
  'mitigations=off init_on_alloc=0 lsm= audit=0 preempt=none psi=0 cgroup_disable=memory transparent_hugepage=madvise',
  // 9 MB of files that describe trace points: a tenth of a template's memory, and a quarter of a second of its boot.
  'initcall_blacklist=event_trace_init,tracer_init_tracefs',
  // The guest uses the host's clock, so there is nothing to calibrate, and an emulated machine has nothing to calibrate
  // with.
  'no_timer_check tsc=reliable',
].join(' ');

interface Source {
  readonly image: string;
  readonly modules: string;
}

function run(program: string, args: readonly string[], cwd: string): string {
  const { status, stdout, stderr, error } = spawnSync(program, args, { cwd, encoding: 'utf8' });
  if (error !== undefined) throw new Error(`${program} cannot be run: ${error.message}`);
  if (status !== 0) throw new Error(`${program} ${args.join(' ')} failed:\n${stdout}${stderr}`);
  return stdout;
}

function sha256(...parts: readonly (string | Buffer)[]): string {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest('hex');
}

/**
 * Returns a key of everything that the result depends on, except the kernel's content: a newer kernel is an update
 * (updates.ts).
 */
function inputsHash(choice: string): string {
  const files = [
    ...[AGENT, HELPER].flatMap((folder) =>
      [...globSync('src/**/*.rs', { cwd: folder }), 'Cargo.toml', 'Cargo.lock', '.cargo/config.toml'].map((file) =>
        join(folder, file),
      ),
    ),
    ...globSync('*.ts', { cwd: import.meta.dirname }).map((file) => join(import.meta.dirname, file)),
  ].sort();
  return sha256(choice, process.arch, ...files.flatMap((file) => ['\0', readFileSync(file)]));
}

function upToDate(inputs: string): boolean {
  const manifest = join(DIST, 'manifest.json');
  if (!existsSync(manifest)) return false;
  const found = JSON.parse(readFileSync(manifest, 'utf8')) as { inputs?: string; files?: Record<string, unknown> };
  return found.inputs === inputs && Object.keys(found.files ?? {}).every((file) => existsSync(join(DIST, file)));
}

/** Reports whether the distribution has a newer kernel than the built-in one. */
function isOutdated(name: string): boolean {
  refreshLists();
  const { build } = JSON.parse(readFileSync(join(DIST, 'manifest.json'), 'utf8')) as { build?: { version?: string } };
  return hasUpdate(name, build?.version, (reason) => console.log(`guest: the kernel is kept as it is: ${reason}`));
}

/**
 * Returns the package of the newest kernel, on which Debian's meta package depends. Lists that were never fetched are
 * fetched, if root.
 */
function concretePackage(name: string): string {
  const ask = (): SpawnSyncReturns<string> =>
    spawnSync('apt-cache', ['depends', '--important', name], { encoding: 'utf8' });
  let { status, stdout, error } = ask();
  if (error !== undefined) throw new Error('this system has no apt: give a kernel with --kernel FILE --modules DIR');
  if (status !== 0 && process.getuid?.() === 0) {
    console.log('guest: fetching the lists of packages');
    run('apt-get', ['-qq', 'update'], ROOT);
    ({ status, stdout } = ask());
  }
  if (status !== 0) throw new Error(`there is no package ${name}; run "apt-get update" or name another with --package`);
  const [, concrete] = /Depends: (linux-image-\d\S*)/u.exec(stdout) ?? [];
  return concrete ?? name;
}

/** Downloads a package. Returns false, with a message, when that is impossible and an earlier download can be used. */
function download(name: string, folder: string): boolean {
  console.log(`guest: downloading ${name}`);
  const partial = `${folder}.partial`;
  rmSync(partial, { recursive: true, force: true });
  mkdirSync(partial, { recursive: true });
  try {
    run('apt-get', ['-qq', '-o', 'APT::Sandbox::User=root', 'download', name], partial);
  } catch (error) {
    if (cachedPackage(CACHE) === undefined) throw error;
    console.log(`guest: ${name} cannot be downloaded; the kernel that was downloaded last is used`);
    return false;
  }
  const [archive = ''] = globSync('*.deb', { cwd: partial });
  run('dpkg-deb', ['-x', archive, 'root'], partial);
  rmSync(join(partial, archive));
  renameSync(partial, folder);
  return true;
}

function fetchPackage(name: string): Source {
  const newest = join(CACHE, downloadName(name));
  const folder = existsSync(newest) || download(name, newest) ? newest : cachedPackage(CACHE);
  if (folder === undefined) throw new Error(`the package ${name} cannot be downloaded`);
  const [image] = globSync('root/boot/vmlinuz-*', { cwd: folder });
  const modules = ['root/lib/modules', 'root/usr/lib/modules'].find((path) => existsSync(join(folder, path)));
  const [release] = modules === undefined ? [] : readdirSync(join(folder, modules));
  if (image === undefined || modules === undefined || release === undefined) {
    throw new Error(`the package ${name} holds no kernel with modules`);
  }
  return { image: join(folder, image), modules: join(folder, modules, release) };
}

/** Compiles the crate in `folder` and returns its program. */
function compile(folder: string, name: string): Buffer {
  console.log(`guest: compiling ${name}`);
  run('cargo', ['build', '--release', '--offline', '--locked', '--quiet'], folder);
  return readFileSync(join(folder, 'target/release', name));
}

function initramfs(agent: Buffer, source: Source): Buffer {
  const modules = resolveModules(source.modules, CACHE, AGENT_MODULES);
  const entries: CpioEntry[] = [
    { path: 'dev', mode: DIRECTORY },
    // Rust's start-up code requires open standard descriptors, and there is no console on a machine without one.
    { path: 'dev/console', mode: CHARACTER_DEVICE, device: [5, 1] },
    { path: 'dev/null', mode: CHARACTER_DEVICE, device: [1, 3] },
    { path: 'init', mode: EXECUTABLE, content: agent },
    { path: 'modules', mode: DIRECTORY },
    ...modules.map(({ name, content }, index) => ({
      path: `modules/${String(index).padStart(2, '0')}-${name}.ko`,
      mode: FILE,
      content,
    })),
  ];
  return cpio(entries);
}

/** Replaces a file atomically, because a guest may boot from it at this moment. */
function replaceFile(name: string, content: string | Buffer): void {
  const partial = join(DIST, `${name}.partial`);
  writeFileSync(partial, content);
  if (name === HELPER_FILE || name === AGENT_FILE) chmodSync(partial, 0o755);
  renameSync(partial, join(DIST, name));
}

/** Writes the manifest last: an interrupted build leaves none, or an old one that does not match. */
function writeDist(inputs: string, files: Readonly<Record<string, Buffer>>, kernel: string): void {
  mkdirSync(DIST, { recursive: true });
  for (const [name, content] of Object.entries(files)) replaceFile(name, content);
  const described = Object.fromEntries(
    Object.entries(files).map(([name, content]) => [name, { sha256: sha256(content), bytes: content.length }]),
  );
  const build = kernelBuild(files['vmlinux'] ?? Buffer.alloc(0));
  const manifest = { format: 1, kernel, ...(build && { build }), cmdline: CMDLINE, inputs, files: described };
  replaceFile('manifest.json', `${JSON.stringify(manifest, undefined, 2)}\n`);
}

function main(): void {
  const { values } = parseArgs({
    options: {
      package: { type: 'string', default: 'linux-image-cloud-amd64' },
      kernel: { type: 'string' },
      modules: { type: 'string' },
      force: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    console.log(USAGE);
    return;
  }
  const own = values.kernel === undefined ? undefined : { image: values.kernel, modules: values.modules ?? '' };
  if (own !== undefined && values.modules === undefined) throw new Error('--kernel needs --modules');
  const inputs = inputsHash(own === undefined ? values.package : sha256(readFileSync(own.image)));
  if (!values.force && upToDate(inputs) && (own !== undefined || !isOutdated(values.package))) {
    console.log('guest: up to date');
    return;
  }
  mkdirSync(CACHE, { recursive: true });
  const source = own ?? fetchPackage(concretePackage(values.package));
  const vmlinux = readKernel(source.image, CACHE);
  if (!hasPvhEntry(vmlinux)) throw new Error('the kernel has no PVH entry (CONFIG_PVH), which QEMU needs to start it');
  const agent = compile(AGENT, AGENT_FILE);
  const files = {
    vmlinux,
    'initramfs.cpio': initramfs(agent, source),
    [AGENT_FILE]: agent,
    [HELPER_FILE]: compile(HELPER, HELPER_FILE),
  };
  writeDist(inputs, files, kernelRelease(vmlinux));
  for (const [name, content] of Object.entries(files)) {
    console.log(`guest: made guest/dist/${name} (${(content.length / 1e6).toFixed(1)} MB)`);
  }
}

try {
  main();
} catch (error) {
  console.error(`guest: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
