import { createHash, randomUUID } from 'node:crypto';
import { createReadStream, existsSync } from 'node:fs';
import { copyFile, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ObjectEntry, ObjectName, ObjectSource, ObjectStore } from '../../../src/cluster/objects/object-store.ts';

/** Object storage in a folder, for tests that are not about object storage. */
export class FolderObjects implements ObjectStore {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  async check(): Promise<void> {}

  async put(object: ObjectName & ObjectSource): Promise<void> {
    if (existsSync(this.#pathOf(object.key))) return;
    const temporary = join(this.#folder, `.${randomUUID()}`);
    if ('path' in object) await copyFile(object.path, temporary);
    else await writeFile(temporary, object.content);
    await rename(temporary, this.#pathOf(object.key));
  }

  async putBytes(prefix: string, content: Uint8Array): Promise<ObjectName> {
    const sha256 = createHash('sha256').update(content).digest('hex');
    const object = { key: `${prefix}${sha256}`, sha256, bytes: content.byteLength };
    await this.put({ ...object, content });
    return object;
  }

  read({ key }: ObjectName): AsyncIterable<Uint8Array> {
    return createReadStream(this.#pathOf(key)) as AsyncIterable<Uint8Array>;
  }

  async head(key: string): Promise<ObjectEntry | undefined> {
    const found = await stat(this.#pathOf(key)).catch(() => undefined);
    return found && { key, bytes: found.size, modifiedMs: found.mtimeMs };
  }

  async delete(keys: readonly string[]): Promise<void> {
    for (const key of keys) await rm(this.#pathOf(key), { force: true });
  }

  async *list(prefix: string): AsyncIterable<ObjectEntry> {
    for (const name of (await readdir(this.#folder)).toSorted()) {
      const key = name.replaceAll('!', '/');
      const entry = key.startsWith(prefix) ? await this.head(key) : undefined;
      if (entry !== undefined) yield entry;
    }
  }

  async endUploads(): Promise<number> {
    return 0;
  }

  [Symbol.dispose](): void {}

  #pathOf(key: string): string {
    return join(this.#folder, key.replaceAll('/', '!'));
  }
}
