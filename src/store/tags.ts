import { fault } from '../contract/errors.ts';
import { isTag } from '../contract/names.ts';
import { closestOf } from '../contract/closest.ts';
import type { Database } from './database.ts';

/** Tags that an unknown name is compared with, and those that are shown. */
const COMPARED_MAX = 200;
const SHOWN_MAX = 3;

/** Tags of one project: movable names of images. An image may have several tags; a tag points at one image. */
export class TagStore {
  readonly #database: Database;
  readonly #project: string;

  constructor(database: Database, project: string) {
    this.#database = database;
    this.#project = project;
  }

  /** Points the tag at the image, moving it if it exists; it becomes the image's newest tag. */
  set(name: string, image: string): void {
    if (!isTag(name)) throw fault('TAG_INVALID', { tag: name });
    this.#database.transaction(() => {
      this.#database.run('DELETE FROM tags WHERE project = ? AND name = ?', this.#project, name);
      const sql = 'INSERT INTO tags (project, name, image, set_at) VALUES (?, ?, ?, ?)';
      this.#database.run(sql, this.#project, name, image, Date.now());
    });
  }

  remove(name: string): void {
    const removed = this.#database.run('DELETE FROM tags WHERE project = ? AND name = ?', this.#project, name);
    if (removed === 0) throw fault('TAG_NOT_FOUND', { tag: name });
  }

  /** Returns the UUID of the image the tag points at. */
  find(name: string): string | undefined {
    const sql = 'SELECT image FROM tags WHERE project = ? AND name = ?';
    return this.#database.get<{ image: string }>(sql, this.#project, name)?.image;
  }

  /** Returns the tags of an image, newest first. */
  of(image: string): string[] {
    return this.#database
      .all<{ name: string }>('SELECT name FROM tags WHERE image = ? ORDER BY id DESC', image)
      .map(({ name }) => name);
  }

  /** Returns up to three existing tags that resemble an unknown name: containing it, misspelt, or with the same start. */
  closest(name: string): string[] {
    const newest = this.#database.all<{ name: string }>(
      'SELECT name FROM tags WHERE project = ? ORDER BY id DESC LIMIT ?',
      this.#project,
      COMPARED_MAX,
    );
    const misspelt = closestOf(
      name,
      newest.map((row) => row.name),
    );
    return [...new Set([...misspelt, ...this.#related(name)])].slice(0, SHOWN_MAX);
  }

  #related(name: string): string[] {
    const first = name.split(/[:/.]/u, 1)[0] ?? name;
    return this.#database
      .all<{ name: string }>(
        `SELECT name FROM tags WHERE project = ?3
           AND (instr(name, ?1) > 0 OR instr(?1, name) > 0 OR substr(name, 1, length(?2)) = ?2)
         ORDER BY instr(name, ?1) = 0, id DESC LIMIT 3`,
        name,
        first,
        this.#project,
      )
      .map((row) => row.name);
  }
}
