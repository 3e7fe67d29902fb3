import { fault } from '../contract/errors.ts';
import { isTag } from '../contract/image.ts';
import type { Database } from './database.ts';

/** Tags: movable names of images. An image may have several; a name points at one image. */
export class TagStore {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** Points the tag at the image, wherever it pointed before; it becomes the image's newest. */
  set(name: string, image: string): void {
    if (!isTag(name)) throw fault('TAG_INVALID', { tag: name });
    this.#database.transaction(() => {
      this.#database.run('DELETE FROM tags WHERE name = ?', name);
      this.#database.run('INSERT INTO tags (name, image, set_at) VALUES (?, ?, ?)', name, image, Date.now());
    });
  }

  remove(name: string): void {
    if (this.#database.run('DELETE FROM tags WHERE name = ?', name) === 0) throw fault('TAG_NOT_FOUND', { tag: name });
  }

  /** UUID of the image the tag points at. */
  find(name: string): string | undefined {
    return this.#database.get<{ image: string }>('SELECT image FROM tags WHERE name = ?', name)?.image;
  }

  /** Tags of an image, newest first. */
  of(image: string): string[] {
    return this.#database
      .all<{ name: string }>('SELECT name FROM tags WHERE image = ? ORDER BY id DESC', image)
      .map(({ name }) => name);
  }

  /** Up to three existing tags that resemble a name nobody has: the same start, or the name as a part. */
  closest(name: string): string[] {
    const first = name.split(/[:/.]/u, 1)[0] ?? name;
    return this.#database
      .all<{ name: string }>(
        `SELECT name FROM tags WHERE instr(name, ?1) > 0 OR instr(?1, name) > 0 OR substr(name, 1, length(?2)) = ?2
         ORDER BY instr(name, ?1) = 0, id DESC LIMIT 3`,
        name,
        first,
      )
      .map((row) => row.name);
  }
}
