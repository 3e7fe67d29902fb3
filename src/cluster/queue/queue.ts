import type { ClusterDatabase } from '../catalogue/database.ts';

/** Time by which an operation is preferred on a node that has its image. */
const HEAD_START = '2 seconds';
/** Longest time for which an operation is left to the nodes that have its image. */
const PATIENCE = '250 milliseconds';

/** Identity of a node in the catalogue: its name, and which of the processes with that name it is. */
export interface NodeIdentity {
  readonly name: string;
  readonly session: string;
}

/** An operation that belongs to this node, as long as its fence is the latest. */
export interface Claim {
  readonly operation: string;
  readonly fence: number;
}

export interface Claims {
  readonly claims: readonly Claim[];
  /** True when something waits that was left to nodes with its image, for a moment. */
  readonly later: boolean;
}

/** The queue of a cluster: operations that wait, each of which one node gets. */
export class Queue {
  readonly #database: ClusterDatabase;
  readonly #node: NodeIdentity;

  constructor(database: ClusterDatabase, node: NodeIdentity) {
    this.#database = database;
    this.#node = node;
  }

  /**
   * Claims up to `wanted` operations, those whose image the node has first, within bounds. Claims nothing without a lease.
   * Faults: CLUSTER_UNAVAILABLE, after which claims may exist that nobody knows of; the heartbeat finds them.
   */
  async claim(wanted: number, images: readonly string[]): Promise<Claims> {
    const { name, session } = this.#node;
    const rows = await this.#database.rows<{ claimed: string | null; number: string | null; later: boolean }>(
      'SELECT * FROM claim_operations($1, $2, $3, $4, $5, $6)',
      name,
      session,
      wanted,
      images,
      HEAD_START,
      PATIENCE,
    );
    const claims = rows.flatMap(({ claimed, number }) =>
      claimed === null ? [] : [{ operation: claimed, fence: Number(number) }],
    );
    return { claims, later: rows.some(({ later }) => later) };
  }

  /**
   * Marks that work of a claim begins: from now on no other node will begin it. Returns false when the claim is lost, or the
   * operation was cancelled.
   */
  async begin({ operation, fence }: Claim): Promise<boolean> {
    const changed = await this.#database.run(
      `UPDATE operations SET status = 'EXECUTING', started_at = clock_timestamp()
        WHERE uuid = $1 AND fence = $2 AND status = 'ASSIGNED' AND NOT cancelled`,
      operation,
      fence,
    );
    return changed === 1;
  }

  /** Gives a claim back of which nothing was begun. Returns false when it had begun, or was lost. */
  async giveBack({ operation, fence }: Claim): Promise<boolean> {
    const changed = await this.#database.run(
      `UPDATE operations SET status = 'PENDING', node = NULL, fence = NULL
        WHERE uuid = $1 AND fence = $2 AND started_at IS NULL AND status = 'ASSIGNED'`,
      operation,
      fence,
    );
    return changed === 1;
  }
}
