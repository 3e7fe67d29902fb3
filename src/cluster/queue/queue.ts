import { fault, isFault } from '../../contract/errors.ts';
import { Grouped } from './grouped.ts';
import type { ClusterDatabase } from '../catalogue/database.ts';
import {
  acceptOperations,
  beginOperations,
  endOperations,
  type AcceptedOperation,
  type Claim,
  type ClaimEnd,
} from '../catalogue/transitions.ts';

/** Time by which an operation is preferred on a node that has its image. */
const HEAD_START = '2 seconds';
/** Longest time for which an operation is left to the nodes that have its image. */
const PATIENCE = '250 milliseconds';

/** Identity of a node in the catalogue: its name, and which of the processes with that name it is. */
export interface NodeIdentity {
  readonly name: string;
  readonly session: string;
}

/** Statements that accept, under way at once: while one waits for an image that is being deleted, the next goes. */
const ACCEPTING_AT_ONCE = 2;
/** Largest group that goes in one statement: requests and logs, bytes. */
const GROUP_BYTES = 512 * 1024;

/** A claim with what its node needs to know. */
export interface ClaimedOperation extends Claim {
  readonly project: string;
  /** UUID of its input image. */
  readonly image: string | null;
  /** Number of claims so far. */
  readonly claims: number;
  /** Its request with secrets, encrypted; null where it is large and has to be fetched. */
  readonly work: Buffer | null;
}

export interface Claims {
  readonly claims: readonly ClaimedOperation[];
  /** True when something waits that was left to nodes with its image, for a moment. */
  readonly later: boolean;
}

interface ClaimRow {
  readonly claimed: string | null;
  readonly number: string;
  readonly later: boolean;
  readonly project: string;
  readonly image: string | null;
  readonly claims: number;
  readonly work: Buffer | null;
}

interface ClaimEnded {
  readonly claim: Claim;
  readonly end: ClaimEnd;
}

/**
 * The queue of a cluster: operations that wait, each of which one node gets. What a node writes about several operations at
 * the same time goes in one statement, which waits for the disk once.
 */
export class Queue {
  readonly #database: ClusterDatabase;
  readonly #node: NodeIdentity;
  readonly #accepting: Grouped<AcceptedOperation, boolean>;
  readonly #beginning: Grouped<Claim, boolean>;
  readonly #ending: Grouped<ClaimEnded, number | undefined>;

  constructor(database: ClusterDatabase, node: NodeIdentity) {
    this.#database = database;
    this.#node = node;
    const terms = { atOnce: 1, weightMax: GROUP_BYTES, isCommon: isFault };
    this.#accepting = new Grouped(
      async (operations) => {
        const accepted = await acceptOperations(database, operations);
        return operations.map(({ uuid }) => accepted.has(uuid));
      },
      { ...terms, atOnce: ACCEPTING_AT_ONCE, weightOf: ({ work, request }) => work.byteLength + request.length },
    );
    this.#beginning = new Grouped(
      async (claims) => {
        const begun = await beginOperations(database, claims);
        return claims.map(({ operation }) => begun.has(operation));
      },
      { ...terms, weightOf: () => 1 },
    );
    this.#ending = new Grouped(
      async (ends) => {
        const ended = await endOperations(database, ends);
        return ends.map(({ claim }) => ended.get(claim.operation));
      },
      { ...terms, weightOf: ({ end }) => end.log?.bytes ?? 1 },
    );
  }

  /**
   * Accepts an operation: it waits from now on, and survives whatever happens. Faults: IMAGE_NOT_FOUND when its image was
   * deleted meanwhile.
   */
  async accept(operation: AcceptedOperation): Promise<void> {
    if (!(await this.#accepting.run(operation))) throw fault('IMAGE_NOT_FOUND', { image: operation.image ?? '' });
  }

  /**
   * Claims up to `wanted` operations, those whose image the node has first, within bounds. Claims nothing without a lease.
   * Faults: CLUSTER_UNAVAILABLE, after which claims may exist that nobody knows of; the heartbeat finds them.
   */
  async claim(wanted: number, images: readonly string[]): Promise<Claims> {
    const { name, session } = this.#node;
    const rows = await this.#database.rows<ClaimRow>(
      `SELECT claimed, number, later, project, image, claims, work FROM claim_operations($1, $2, $3, $4, $5, $6)`,
      name,
      session,
      wanted,
      images,
      HEAD_START,
      PATIENCE,
    );
    const claims = rows.flatMap(({ claimed, number, project, image, claims: count, work }) =>
      claimed === null ? [] : [{ operation: claimed, fence: Number(number), project, image, claims: count, work }],
    );
    return { claims, later: rows.some(({ later }) => later) };
  }

  /** Returns the request of a claim with secrets, encrypted; undefined when the claim is lost. */
  async workOf({ operation, fence }: Claim): Promise<Buffer | undefined> {
    const statement = 'SELECT work FROM operations WHERE uuid = $1 AND fence = $2';
    const [row] = await this.#database.rows<{ work: Buffer | null }>(statement, operation, fence);
    return row?.work ?? undefined;
  }

  /**
   * Marks that work of a claim begins: from now on no other node will begin it. Returns false when the claim is lost, or the
   * operation was cancelled.
   */
  async begin(claim: Claim): Promise<boolean> {
    return await this.#beginning.run(claim);
  }

  /**
   * Ends the operation of a claim. Returns the time, ms since 1970; undefined when the claim is lost or it has ended
   * already.
   */
  async end(claim: Claim, end: ClaimEnd): Promise<number | undefined> {
    return await this.#ending.run({ claim, end });
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
