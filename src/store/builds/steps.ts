import type { Database } from '../database.ts';

/** Limit of remembered steps of all projects; the least recently used are dropped first. */
const REMEMBERED_MAX = 100_000;

/**
 * Results of build steps by key, in one project. A key stands for everything that a step depends on; a result is there as
 * long as its image.
 */
export class BuildStepStore {
  readonly #database: Database;
  readonly #project: string;

  constructor(database: Database, project: string) {
    this.#database = database;
    this.#project = project;
  }

  /** Returns the UUID of the image that a step made before. */
  find(key: string): string | undefined {
    const sql = 'SELECT image FROM build_steps WHERE project = ? AND key = ?';
    const image = this.#database.get<{ readonly image: string }>(sql, this.#project, key)?.image;
    const used = 'UPDATE build_steps SET used_at = ? WHERE project = ? AND key = ?';
    if (image !== undefined) this.#database.run(used, Date.now(), this.#project, key);
    return image;
  }

  /** Remembers the image that a step made; a later one replaces it. */
  remember(keys: readonly string[], image: string): void {
    this.#database.transaction(() => {
      for (const key of keys) {
        this.#database.run(
          `INSERT INTO build_steps (project, key, image, used_at) VALUES (?, ?, ?, ?)
           ON CONFLICT (project, key) DO UPDATE SET image = excluded.image, used_at = excluded.used_at`,
          this.#project,
          key,
          image,
          Date.now(),
        );
      }
      this.#database.run(
        `DELETE FROM build_steps WHERE rowid IN
           (SELECT rowid FROM build_steps ORDER BY used_at DESC, rowid DESC LIMIT -1 OFFSET ?)`,
        REMEMBERED_MAX,
      );
    });
  }
}
