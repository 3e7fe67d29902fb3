import { createHash, randomUUID } from 'node:crypto';
import {
  access,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  utimes,
  writeFile,
  type FileHandle,
} from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { makeFolders } from '../../../std/files.ts';
import type { Guest } from '../../host/guest.ts';
import type { Host } from '../host/host.ts';
import { bootArguments, type Accelerator, type Machine } from '../vm/machine.ts';
import { loadSealed, type PackedFile } from './sealed-file.ts';

/** Format version, raised when the files of a template or the state of the guest in it change their meaning. */
const FORMAT = 2;
/** Number of templates kept on disk. Unusual sizes of machine are rare, so the least recently used templates are removed. */
const KEPT_MAX = 6;
/** Growth that is accepted, because every run touches some pages that the template does not have. */
const GROWTH_BYTES_MAX = 64 * 1024 ** 2;

/** Unit of `st_blocks` (stat(2)). */
const BLOCK_BYTES = 512;

const PackedRecord = z.object({ sha256: z.string(), bytes: z.int(), runs: z.array(z.int()) });

const TemplateRecord = z.object({
  format: z.literal(FORMAT),
  /** Digest of everything but the size of the guest. */
  base: z.string(),
  /** Kernel release that the guest reported. */
  kernel: z.string(),
  state: PackedRecord,
  disk: PackedRecord,
  ram: PackedRecord,
});

/** The packed files of one template, in a separate folder; `record.json` is written last. */
export const TEMPLATE_FILES = { state: 'state', disk: 'disk', ram: 'ram', record: 'record.json' } as const;

/** Name of a template: digests of what it was made from. */
export interface TemplateKey {
  readonly key: string;
  readonly base: string;
}

/** Returns the kernel's command line. Emulation needs the frequency of the clock, or it may hang while measuring it. */
export function commandLine(guest: Guest, host: Host, accelerator: Accelerator): string {
  const clock = accelerator === 'emulated' ? [`tsc_early_khz=${host.cpu.tscKhz}`] : [];
  return [guest.commandLine, 'console=ttyS0', ...clock].join(' ');
}

/** Returns everything that a saved guest depends on. It is restored only where all of it is the same. */
export function templateKey(host: Host, guest: Guest, machine: Machine): TemplateKey {
  const { accelerator } = machine;
  const common = {
    format: FORMAT,
    guest: [guest.identity, guest.commandLine],
    qemu: host.qemuIdentity,
    // Measured at every boot of the host; the last digits differ and do not matter.
    clockMhz: Math.round(host.cpu.tscKhz / 1_000),
    cpu: accelerator === 'kvm' ? host.cpu.identity : '',
    accelerator,
  };
  return { key: digest([common, bootArguments(machine, '')]), base: digest(common) };
}

function digest(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 32);
}

interface TemplateFiles {
  readonly state: FileHandle;
  readonly disk: FileHandle;
  readonly ram: FileHandle;
}

/** A saved guest, which can be restored any number of times at once. Its files are sealed against writing. */
export class Template {
  readonly key: string;
  readonly kernel: string;
  readonly state: FileHandle;
  readonly disk: FileHandle;
  readonly ram: FileHandle;
  /** Resolves when its files are closed, which frees their memory. */
  readonly closed: Promise<void>;
  /** Time of the last use, in milliseconds since 1970. */
  usedMs = Date.now();
  /** True once a guest was continued from it; later failures are caused by the host. */
  proven = false;
  readonly #closed = Promise.withResolvers<void>();
  /** Bytes of host memory that its RAM took when it was loaded. */
  readonly #loadedBytes: number;
  #users = 0;
  #retired = false;

  private constructor(key: string, kernel: string, { state, disk, ram }: TemplateFiles, loadedBytes: number) {
    this.key = key;
    this.kernel = kernel;
    this.state = state;
    this.disk = disk;
    this.ram = ram;
    this.closed = this.#closed.promise;
    this.#loadedBytes = loadedBytes;
  }

  /** Takes ownership of the files, which are loaded and sealed. */
  static async of(key: string, kernel: string, files: TemplateFiles): Promise<Template> {
    return new Template(key, kernel, files, await bytesTaken(files.ram));
  }

  /** Keeps the files open until the result is disposed of; undefined when they are closed already. */
  use(): AsyncDisposable | undefined {
    if (this.#retired) return undefined;
    this.#users += 1;
    this.usedMs = Date.now();
    return {
      [Symbol.asyncDispose]: async () => {
        this.#users -= 1;
        this.usedMs = Date.now();
        await this.#closeUnused();
      },
    };
  }

  get isIdle(): boolean {
    return this.#users === 0;
  }

  /** Returns the bytes of host memory that its files take. */
  async memoryBytes(): Promise<number> {
    if (this.#retired && this.#users === 0) return 0;
    const taken = await Promise.all([this.state, this.disk, this.ram].map((file) => bytesTaken(file)));
    return taken.reduce((sum, bytes) => sum + bytes, 0);
  }

  /**
   * Reports whether its RAM takes much more of the host's memory than when it was loaded, because guests touched it. While
   * it is in use that is half of the guest's memory: a second copy then costs less than what comes back when the last
   * guest of this one has ended.
   */
  async hasGrown(): Promise<boolean> {
    if (this.#retired) return false;
    const { blocks, size } = await this.ram.stat();
    const most = this.isIdle ? GROWTH_BYTES_MAX : Math.max(GROWTH_BYTES_MAX, size / 2);
    return blocks * BLOCK_BYTES - this.#loadedBytes > most;
  }

  /** Retires the template: it gets no new users. */
  async retire(): Promise<void> {
    this.#retired = true;
    await this.#closeUnused();
  }

  async #closeUnused(): Promise<void> {
    if (!this.#retired || this.#users > 0) return;
    await Promise.all([this.state.close(), this.disk.close(), this.ram.close()]);
    this.#closed.resolve();
  }
}

/** Returns the bytes of memory or disk that a file takes; holes take none. */
async function bytesTaken(file: FileHandle): Promise<number> {
  return (await file.stat()).blocks * BLOCK_BYTES;
}

/** Facts about a template whose files are complete. */
export interface Made {
  readonly kernel: string;
  readonly files: Readonly<Record<'state' | 'disk' | 'ram', PackedFile>>;
}

export interface StoredTemplate extends TemplateKey {
  /** Time when it was last loaded, in milliseconds since 1970. */
  readonly usedMs: number;
  readonly bytes: number;
}

/** Templates on disk in `<folder>/<key>/`, each complete or absent. */
export class TemplateStore {
  readonly #folder: string;
  readonly #scratch: string;

  constructor(folder: string, scratch: string) {
    this.#folder = folder;
    this.#scratch = scratch;
  }

  async has({ key }: TemplateKey): Promise<boolean> {
    return access(join(this.#folder, key, TEMPLATE_FILES.record)).then(
      () => true,
      () => false,
    );
  }

  /** Returns the template, or undefined when there is none. Removes a damaged one, because it can be made again. */
  async find({ key }: TemplateKey, helper: string, signal: AbortSignal): Promise<Template | undefined> {
    const folder = join(this.#folder, key);
    await using files = new AsyncDisposableStack();
    try {
      const record = TemplateRecord.parse(JSON.parse(await readFile(join(folder, TEMPLATE_FILES.record), 'utf8')));
      const load = async (name: 'state' | 'disk' | 'ram'): Promise<FileHandle> => {
        await using packed = await open(join(folder, TEMPLATE_FILES[name]), 'r');
        return files.use(await loadSealed(packed, record[name], helper, signal));
      };
      const [state, disk, ram] = [await load('state'), await load('disk'), await load('ram')];
      // Marks it as used, for `prune`.
      await utimes(folder, new Date(), new Date());
      const template = await Template.of(key, record.kernel, { state, disk, ram });
      files.move();
      return template;
    } catch {
      signal.throwIfAborted();
      await rm(folder, { recursive: true, force: true });
      return undefined;
    }
  }

  /** Has `make` fill a new folder, and publishes it as a whole. */
  async add(name: TemplateKey, make: (folder: string) => Promise<Made>): Promise<void> {
    const folder = join(this.#scratch, randomUUID());
    await makeFolders(folder, 0o700);
    try {
      const made = await make(folder);
      const record: z.input<typeof TemplateRecord> = {
        format: FORMAT,
        base: name.base,
        kernel: made.kernel,
        state: recordOf(made.files.state),
        disk: recordOf(made.files.disk),
        ram: recordOf(made.files.ram),
      };
      await writeFile(join(folder, TEMPLATE_FILES.record), JSON.stringify(record), { flag: 'wx', mode: 0o600 });
      await makeFolders(this.#folder, 0o700);
      await rm(join(this.#folder, name.key), { recursive: true, force: true });
      await rename(folder, join(this.#folder, name.key));
    } catch (error) {
      await rm(folder, { recursive: true, force: true });
      throw error;
    }
  }

  async remove({ key }: TemplateKey): Promise<void> {
    await rm(join(this.#folder, key), { recursive: true, force: true });
  }

  /** Removes templates that this host, QEMU and guest can no longer use, and all but the most recent of the others. */
  async prune(bases: readonly string[]): Promise<void> {
    const found = await this.list();
    const useful = found.filter(({ base }) => bases.includes(base)).sort((a, b) => b.usedMs - a.usedMs);
    const keep = new Set(useful.slice(0, KEPT_MAX).map(({ key }) => key));
    await Promise.all(found.filter(({ key }) => !keep.has(key)).map((name) => this.remove(name)));
  }

  async list(): Promise<StoredTemplate[]> {
    await makeFolders(this.#folder, 0o700);
    const names = await readdir(this.#folder);
    return Promise.all(names.map((key) => this.#stored(key)));
  }

  async #stored(key: string): Promise<StoredTemplate> {
    const folder = join(this.#folder, key);
    try {
      const { base } = TemplateRecord.parse(JSON.parse(await readFile(join(folder, TEMPLATE_FILES.record), 'utf8')));
      const { mtimeMs } = await stat(folder);
      const files = await Promise.all(Object.values(TEMPLATE_FILES).map((name) => stat(join(folder, name))));
      return { key, base, usedMs: mtimeMs, bytes: files.reduce((sum, { size }) => sum + size, 0) };
    } catch {
      return { key, base: '', usedMs: 0, bytes: 0 };
    }
  }
}

function recordOf(file: PackedFile): z.input<typeof PackedRecord> {
  return { ...file, runs: [...file.runs] };
}
