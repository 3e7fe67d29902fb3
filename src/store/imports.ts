import { z } from 'zod';
import { ImageConfig } from '../contract/image.ts';
import { parseColumn, type Database } from './database.ts';

/** Limit of remembered imports of all projects; the least recently used is dropped first. */
const REMEMBERED_MAX = 1_000;

/** Result of importing a source. */
export interface RememberedImport {
  /** Digests of the layers, bottom first. They may have been merged or collected since. */
  readonly layers: readonly string[];
  readonly config: ImageConfig;
}

interface ImportRow {
  readonly layers: string;
  readonly config: string;
}

const Layers = z.array(z.string().regex(/^[0-9a-f]{64}$/u));

/**
 * Results of earlier imports by source, so that an unchanged source is not fetched again. They belong to one project:
 * access of another project to an image grants nothing.
 */
export class ImportStore {
  readonly #database: Database;
  readonly #project: string;

  constructor(database: Database, project: string) {
    this.#database = database;
    this.#project = project;
  }

  /** Finds an earlier import; `source` is a key for immutable content, such as a digest with a platform. */
  find(source: string): RememberedImport | undefined {
    const sql = 'SELECT layers, config FROM imports WHERE project = ? AND source = ?';
    const row = this.#database.get<ImportRow>(sql, this.#project, source);
    if (row === undefined) return undefined;
    const used = 'UPDATE imports SET used_at = ? WHERE project = ? AND source = ?';
    this.#database.run(used, Date.now(), this.#project, source);
    const what = `import of ${source}`;
    return { layers: parseColumn(Layers, row.layers, what), config: parseColumn(ImageConfig, row.config, what) };
  }

  remember(source: string, { layers, config }: RememberedImport): void {
    this.#database.transaction(() => {
      this.#database.run(
        `INSERT INTO imports (project, source, layers, config, used_at) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT (project, source) DO UPDATE SET layers = excluded.layers, config = excluded.config, used_at = excluded.used_at`,
        this.#project,
        source,
        JSON.stringify(layers),
        JSON.stringify(config),
        Date.now(),
      );
      this.#database.run(
        'DELETE FROM imports WHERE rowid IN (SELECT rowid FROM imports ORDER BY used_at DESC, source LIMIT -1 OFFSET ?)',
        REMEMBERED_MAX,
      );
    });
  }
}
