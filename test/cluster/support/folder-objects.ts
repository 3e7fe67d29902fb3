import { createReadStream, existsSync } from 'node:fs';
import { copyFile, rename, writeFile } from 'node:fs/promises';
import { createHash, randomUUID } from 'node:crypto';
import { join } from 'node:path';
import type { Objects, StoredObject } from '../../../src/cluster/node/objects.ts';

/** Object storage in a folder, for tests that are not about object storage. */
export class FolderObjects implements Objects {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  async put({ key, path }: StoredObject & { readonly path: string }): Promise<void> {
    if (existsSync(this.#pathOf(key))) return;
    const temporary = join(this.#folder, randomUUID());
    await copyFile(path, temporary);
    await rename(temporary, this.#pathOf(key));
  }

  async putBytes(prefix: string, content: Uint8Array): Promise<StoredObject> {
    const sha256 = createHash('sha256').update(content).digest('hex');
    const temporary = join(this.#folder, randomUUID());
    await writeFile(temporary, content);
    await rename(temporary, this.#pathOf(`${prefix}${sha256}`));
    return { key: `${prefix}${sha256}`, sha256, bytes: content.byteLength };
  }

  read({ key }: StoredObject): AsyncIterable<Uint8Array> {
    return createReadStream(this.#pathOf(key)) as AsyncIterable<Uint8Array>;
  }

  #pathOf(key: string): string {
    return join(this.#folder, key.replaceAll('/', '-'));
  }
}
