import { existsSync, globSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { gunzipSync, zstdDecompressSync } from 'node:zlib';
import { unxz } from './kernel.ts';

/** A kernel module. One that the kernel has built in is skipped; an optional one may be missing. */
export interface WantedModule {
  readonly name: string;
  readonly optional?: boolean;
}

/** Kernel modules that the agent needs. */
export const AGENT_MODULES: readonly WantedModule[] = [
  { name: 'virtio_mmio' },
  { name: 'virtio_pci', optional: true },
  { name: 'virtio_blk' },
  { name: 'virtio_console' },
  { name: 'virtio_rng', optional: true },
  { name: 'virtio_net' },
  { name: 'ext4' },
  { name: 'erofs' },
  { name: 'overlay' },
];

export interface KernelModule {
  readonly name: string;
  readonly content: Buffer;
}

/** Returns a module's name, `virtio-rng.ko.xz` → `virtio_rng`: the kernel treats dashes as underscores. */
function moduleName(path: string): string {
  return basename(path)
    .replace(/\.ko(\.\w+)?$/u, '')
    .replaceAll('-', '_');
}

function readModule(path: string, scratch: string): Buffer {
  const bytes = readFileSync(path);
  if (path.endsWith('.xz')) return unxz(bytes, scratch);
  if (path.endsWith('.zst')) return zstdDecompressSync(bytes);
  return path.endsWith('.gz') ? gunzipSync(bytes) : bytes;
}

/** Returns the `depends=` line of the module's .modinfo section. */
function dependencies(content: Buffer): string[] {
  const at = content.indexOf('\0depends=');
  if (at < 0) return [];
  const line = content.toString('latin1', at + 9, content.indexOf(0, at + 9));
  return line.split(',').filter((name) => name !== '');
}

/** Returns the wanted modules and their dependencies in loading order. */
export function resolveModules(folder: string, scratch: string, wanted: readonly WantedModule[]): KernelModule[] {
  const files = globSync('kernel/**/*.ko*', { cwd: folder });
  const paths = new Map(files.map((file) => [moduleName(file), join(folder, file)]));
  const list = join(folder, 'modules.builtin');
  const builtin = new Set(existsSync(list) ? readFileSync(list, 'utf8').split('\n').map(moduleName) : []);
  const loaded = new Map<string, KernelModule>();
  const load = (name: string, optional: boolean): void => {
    if (loaded.has(name) || builtin.has(name)) return;
    const path = paths.get(name);
    if (path === undefined && optional) return;
    if (path === undefined) throw new Error(`the kernel has no module ${name}, and we cannot do without`);
    const content = readModule(path, scratch);
    for (const needed of dependencies(content)) load(needed.replaceAll('-', '_'), false);
    loaded.set(name, { name, content });
  };
  for (const { name, optional = false } of wanted) load(name, optional);
  return [...loaded.values()];
}
