import { hash } from 'node:crypto';
import { fault } from '../../contract/errors.ts';
import { defined } from '../../std/assert.ts';
import type { ObjectName, ObjectSource, ObjectStore } from '../objects/object-store.ts';
import type { ClusterDatabase } from './database.ts';

/** Row of a content. */
interface ObjectRow {
  readonly generation: string;
  readonly stored: boolean;
  /** True when it was made just now, so that nothing can have that name in the storage. */
  readonly fresh: boolean;
}

/**
 * Contents of a cluster: their bytes in the object storage, and a row for each in the catalogue, to which everything that needs
 * it refers. A name in the storage has the row's generation in it and is never used again after it was deleted, so a deletion
 * that comes late, from a node that was cut off, meets nothing that anyone needs.
 */
export class CatalogueObjects {
  readonly #database: ClusterDatabase;
  readonly #objects: Pick<ObjectStore, 'put' | 'read'>;

  constructor(database: ClusterDatabase, objects: Pick<ObjectStore, 'put' | 'read'>) {
    this.#database = database;
    this.#objects = objects;
  }

  /**
   * Stores a content, unless it is there. Its row is there from before the first byte and counts as used now; refer to it
   * within the time that `collectObjects` spares. With `commit: 'later'` nothing waits for the disk of the database: the next
   * commit that does makes the row durable, too, and before that a crash may forget it, so that what refers to it is refused.
   * Faults: those of `ObjectStore.put`, CLUSTER_UNAVAILABLE.
   */
  async put(
    object: ObjectName & ObjectSource,
    signal: AbortSignal,
    { commit = 'now' }: { readonly commit?: 'now' | 'later' } = {},
  ): Promise<void> {
    const isLater = commit === 'later';
    for (;;) {
      const { generation, stored, fresh } = await this.#use(object, isLater);
      if (stored) return;
      await this.#objects.put({ ...object, key: storedKey(object.key, generation), isNew: fresh }, signal);
      const statement = `UPDATE objects SET stored = true, used_at = now() WHERE key = $1 AND generation = $2
        RETURNING CASE WHEN $3::boolean THEN set_config('synchronous_commit', 'off', true) END`;
      if ((await this.#database.run(statement, object.key, generation, isLater)) > 0) return;
      // It took so long that the row was taken for unused: from the beginning, under another name.
    }
  }

  /** Stores a small content under `prefix` and its sha256, and returns its name. Faults as `put`. */
  async putBytes(prefix: string, content: Uint8Array, signal: AbortSignal): Promise<ObjectName> {
    const sha256 = hash('sha256', content, 'hex');
    const object = { key: `${prefix}${sha256}`, sha256, bytes: content.byteLength };
    await this.put({ ...object, content }, signal);
    return object;
  }

  /** Yields a content as `ObjectStore.read` does. Faults: OBJECT_MISSING, too, where it has no row. */
  async *read(object: ObjectName, signal: AbortSignal): AsyncIterable<Uint8Array> {
    const statement = 'SELECT generation FROM objects WHERE key = $1';
    const [row] = await this.#database.rows<{ generation: string }>(statement, object.key);
    if (row === undefined) throw fault('OBJECT_MISSING', { key: object.key });
    yield* this.#objects.read({ ...object, key: storedKey(object.key, row.generation) }, signal);
  }

  /** Returns the row of a content, which is made where there is none; it counts as used now. */
  async #use({ key, bytes }: ObjectName, isLater: boolean): Promise<ObjectRow> {
    // A row that says so already is not written again: many nodes may use it.
    const statement = `WITH used AS (
        INSERT INTO objects (key, bytes) SELECT $1::text, $2::bigint
         WHERE NOT EXISTS (SELECT FROM objects WHERE key = $1 AND stored AND used_at > now() - interval '1 hour')
        ON CONFLICT (key) DO UPDATE SET used_at = now() RETURNING generation, stored, xmax = 0 AS fresh,
          CASE WHEN $3::boolean THEN set_config('synchronous_commit', 'off', true) END
      ) SELECT generation, stored, fresh FROM used
      UNION ALL SELECT generation, stored, false FROM objects WHERE key = $1 AND NOT EXISTS (SELECT FROM used)`;
    const [row] = await this.#database.rows<ObjectRow>(statement, key, bytes, isLater);
    return defined(row, 'a row is there or made');
  }
}

/** Returns the name of a content in the object storage. */
export function storedKey(key: string, generation: string): string {
  return `${key}.${generation}`;
}
