import { createHash } from 'node:crypto';
import { chmod, readdir, rename, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import type { LayerFile } from '../../erofs/layer-file.ts';
import { LayerReader } from '../../erofs/reader.ts';
import { makeFolders } from '../../std/files.ts';
import type { DriverCollection, DriverGarbage, MemoryAndDisk } from '../driver.ts';
import { writePlainLayer } from './plain-layer.ts';

/** Version of the plain form, which changes with it. */
const FORM = '2';

/** A layer as gVisor can mount it. */
export interface MountableLayer {
  readonly path: string;
  /** True when the file is the plain form of the layer (`writePlainLayer`), not the layer itself. */
  readonly extracted: boolean;
}

/**
 * Plain forms of layers that gVisor cannot mount: those with xattrs or devices, and those that an older version wrote. Each is
 * made once.
 */
export class MountableLayers {
  readonly #folder: string;
  /** Results, which are valid as long as the layer's file is unchanged. */
  readonly #known = new Map<string, Promise<MountableLayer>>();

  private constructor(folder: string) {
    this.#folder = folder;
  }

  static async open(folder: string): Promise<MountableLayers> {
    await makeFolders(folder, 0o700);
    for (const name of await readdir(folder)) {
      if (name.endsWith('.partial')) await rm(join(folder, name), { force: true });
    }
    return new MountableLayers(folder);
  }

  /** Returns a file that gVisor can mount in place of the layer. Rejects with STORE_CORRUPT when the layer cannot be read. */
  async mountable(layer: LayerFile, signal: AbortSignal): Promise<MountableLayer> {
    const key = [layer.path, layer.bytes, layer.version ?? ''].join('\0');
    const known = this.#known.get(key);
    if (known !== undefined) {
      const found = await known;
      if (!found.extracted || (await touch(found.path))) return found;
      // It was collected; another start may be making it already.
      const current = this.#known.get(key);
      if (current !== undefined && current !== known) return current;
    }
    const making = this.#make(layer, key, signal);
    this.#known.set(key, making);
    making.catch(() => this.#known.delete(key));
    return making;
  }

  /** Removes plain forms that no run has used since then. */
  async collect({ filesUnusedSinceMs, dryRun }: DriverCollection): Promise<DriverGarbage> {
    const bytes = { freed: 0, used: 0 };
    await makeFolders(this.#folder, 0o700);
    for (const name of await readdir(this.#folder)) {
      const path = join(this.#folder, name);
      const { mtimeMs, size } = await stat(path);
      const unused = mtimeMs < filesUnusedSinceMs;
      bytes[unused ? 'freed' : 'used'] += size;
      if (unused && !dryRun) await rm(path, { force: true });
    }
    const onDisk = (diskBytes: number): MemoryAndDisk => ({ memoryBytes: 0, diskBytes });
    return { templates: 0, freed: onDisk(bytes.freed), used: onDisk(bytes.used) };
  }

  async #make(layer: LayerFile, key: string, signal: AbortSignal): Promise<MountableLayer> {
    await using reader = await LayerReader.open(layer);
    if (reader.plain) return { path: layer.path, extracted: false };
    const path = join(this.#folder, createHash('sha256').update(`${FORM}\0${key}`).digest('hex'));
    if (!(await touch(path))) {
      const partial = `${path}.partial`;
      // Something may have cleaned up while the engine ran.
      await makeFolders(this.#folder, 0o700);
      await rm(partial, { force: true });
      await writePlainLayer(reader, partial, signal);
      // As the layers of the store: the sandbox's own user opens the file again through /proc.
      await chmod(partial, 0o444);
      await rename(partial, path);
    }
    return { path, extracted: true };
  }
}

/** Marks a file as used now. Returns false when there is none. */
async function touch(path: string): Promise<boolean> {
  const now = new Date();
  return utimes(path, now, now).then(
    () => true,
    () => false,
  );
}
