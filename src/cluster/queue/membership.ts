import { fault } from '../../contract/errors.ts';
import type { ClusterDatabase, Sql, SqlValue } from '../catalogue/database.ts';
import type { NodeIdentity } from './queue.ts';

/** Time for which a node is believed after its last heartbeat, by PostgreSQL's clock. */
export const LEASE_MS = 15_000;
/** Time after which the row of a node that is gone is deleted: longer than any claim that may still be under way for it. */
const FORGOTTEN_AFTER = `interval '1 hour'`;
/** Claims of one operation after which it is given up, though none of them began. */
const CLAIMS_MAX = 5;

/** A node as it presents itself. */
export interface NodePresence extends NodeIdentity {
  /** UUID of its data directory, so that a node that starts again takes its name at once. */
  readonly owner: string;
  /** URL at which other nodes reach it. */
  readonly url: string;
  readonly version: string;
  /** True for a node that takes operations. */
  readonly works: boolean;
}

/** An operation that a node has, as the catalogue has it. */
export interface HeldOperation {
  readonly operation: string;
  readonly fence: number;
  readonly cancelled: boolean;
}

/** Nodes of a cluster, and what becomes of operations when one is lost. */
export class Membership {
  readonly #database: ClusterDatabase;
  readonly #node: NodePresence;
  readonly #leaseMs: number;
  /** Images of this node that the catalogue has. */
  #announced: ReadonlySet<string> | undefined;

  constructor(database: ClusterDatabase, node: NodePresence, leaseMs = LEASE_MS) {
    this.#database = database;
    this.#node = node;
    this.#leaseMs = leaseMs;
  }

  /**
   * Enters the cluster. What an earlier process of the same data directory had is lost to it. Faults: NODE_NAME_TAKEN
   * while another node has that name and a lease.
   */
  async join(): Promise<void> {
    const { name, owner, session, url, version, works } = this.#node;
    await this.#database.transaction(async (sql) => {
      const joined = await sql.run(
        `INSERT INTO nodes (name, owner, session, url, version, works, lease_until)
         VALUES ($1, $2, $3, $4, $5, $6, clock_timestamp() + $7 * interval '1 millisecond')
         ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, session = excluded.session, url = excluded.url,
           version = excluded.version, works = excluded.works, lease_until = excluded.lease_until, started_at = now()
         WHERE nodes.owner = excluded.owner OR nodes.lease_until < clock_timestamp()`,
        name,
        owner,
        session,
        url,
        version,
        works,
        this.#leaseMs,
      );
      if (joined === 0) {
        const [other] = await sql.rows<{ url: string }>('SELECT url FROM nodes WHERE name = $1', name);
        throw fault('NODE_NAME_TAKEN', { node: name, url: other?.url ?? '' });
      }
      await sql.run('DELETE FROM node_images WHERE node = $1', name);
      await loseOperations(sql, 'node = $1', name);
      await sql.run(`DELETE FROM nodes WHERE lease_until < clock_timestamp() - ${FORGOTTEN_AFTER}
        AND NOT EXISTS (SELECT FROM operations WHERE node = name AND status IN ('ASSIGNED', 'EXECUTING'))`);
    });
    this.#announced = new Set();
  }

  /**
   * Extends the lease and returns the operations that the node has; undefined when another process has taken its name.
   * `images` are those that it has. Only what is new or gone since the last time is written.
   */
  async beat(images: readonly string[]): Promise<readonly HeldOperation[] | undefined> {
    const { name, session } = this.#node;
    const announced = this.#announced;
    const has = new Set(images);
    // After a failure it is not known what the catalogue has.
    this.#announced = undefined;
    // So that another try fits into the lease, on another connection.
    const rows = await this.#database.rowsWithin<{ uuid: string | null; fence: string; cancelled: boolean }>(
      this.#leaseMs / 3,
      `WITH me AS (
         UPDATE nodes SET lease_until = clock_timestamp() + $3 * interval '1 millisecond'
         WHERE name = $1 AND session = $2 RETURNING name
       ), come AS (
         INSERT INTO node_images (image, node) SELECT image, name FROM me, unnest($4::uuid[]) AS new (image)
         ON CONFLICT DO NOTHING
       ), gone AS (
         DELETE FROM node_images WHERE node = (SELECT name FROM me)
           AND (image = ANY ($5::uuid[]) OR ($6 AND image <> ALL ($4::uuid[])))
       ) SELECT uuid, fence, cancelled FROM me
         LEFT JOIN operations ON node = me.name AND status IN ('ASSIGNED', 'EXECUTING')`,
      name,
      session,
      this.#leaseMs,
      images.filter((image) => announced?.has(image) !== true),
      [...(announced ?? [])].filter((image) => !has.has(image)),
      announced === undefined,
    );
    this.#announced = has;
    if (rows.length === 0) return undefined;
    return rows.flatMap(({ uuid, fence, cancelled }) =>
      uuid === null ? [] : [{ operation: uuid, fence: Number(fence), cancelled }],
    );
  }

  /** Ends or requeues the operations of nodes whose lease has ended. Returns how many there were. */
  async reap(): Promise<number> {
    // Most look in vain, many times a second in a large cluster: nothing but the leases is read then.
    const expired = await this.#database.rows<{ name: string }>(
      `SELECT name FROM nodes WHERE lease_until < clock_timestamp()
         AND EXISTS (SELECT FROM operations WHERE node = name AND status IN ('ASSIGNED', 'EXECUTING'))`,
    );
    if (expired.length === 0) return 0;
    return this.#database.transaction((sql) =>
      loseOperations(
        sql,
        'node IN (SELECT name FROM nodes WHERE lease_until < clock_timestamp() AND name = ANY ($1))',
        expired.map(({ name }) => name),
      ),
    );
  }

  /**
   * Leaves the cluster: what the node still has is lost at once instead of after its lease. Its row stays for a while, so that
   * whatever is claimed for it at this moment is found.
   */
  async leave(): Promise<void> {
    const { name, session } = this.#node;
    await this.#database.transaction(async (sql) => {
      const left = await sql.run(
        `UPDATE nodes SET lease_until = clock_timestamp() - interval '1 millisecond' WHERE name = $1 AND session = $2`,
        name,
        session,
      );
      if (left === 0) return;
      await sql.run('DELETE FROM node_images WHERE node = $1', name);
      await loseOperations(sql, 'node = $1', name);
    });
  }
}

interface LostRow {
  readonly uuid: string;
  readonly node: string;
  readonly begun: boolean;
  readonly cancelled: boolean;
  readonly claims: number;
}

/**
 * Takes operations from nodes: one that had not begun waits again, any other ends with NODE_LOST. The nodes that had
 * them can write nothing more, because their fence is gone.
 */
async function loseOperations(sql: Sql, which: string, value: SqlValue): Promise<number> {
  const lost = await sql.rows<LostRow>(
    `SELECT uuid, node, started_at IS NOT NULL AS begun, cancelled, claims FROM operations
      WHERE status IN ('ASSIGNED', 'EXECUTING') AND ${which} ORDER BY uuid FOR UPDATE SKIP LOCKED`,
    value,
  );
  for (const { uuid, node, begun, cancelled, claims } of lost) {
    if (!begun && !cancelled && claims < CLAIMS_MAX) {
      await sql.run(`UPDATE operations SET status = 'PENDING', node = NULL, fence = NULL WHERE uuid = $1`, uuid);
      continue;
    }
    const { code, message } = cancelled
      ? fault('OPERATION_CANCELLED', { operation: uuid })
      : fault('NODE_LOST', { operation: uuid, node });
    await sql.run(
      `UPDATE operations SET status = $2, error = $3, error_code = $4, finished_at = clock_timestamp(), work = NULL,
         fence = NULL WHERE uuid = $1`,
      uuid,
      cancelled ? 'CANCELLED' : 'FAILED',
      message,
      code,
    );
  }
  return lost.length;
}
