import { fault, isFault } from '../../contract/errors.ts';
import { isUuid } from '../../contract/names.ts';
import type { Catalogue, ImageToShare, Publication, Published } from '../../engine/node/catalogue.ts';
import type { Engine } from '../../engine/engine.ts';
import { pause } from '../../std/abort.ts';
import { collect } from '../../std/bytes.ts';
import { present } from '../../std/present.ts';
import type { ClusterDatabase, Sql } from '../catalogue/database.ts';
import type { CatalogueObjects } from '../catalogue/objects.ts';
import { findRoot, insertImage, setTag, CatalogueImages } from '../catalogue/images.ts';
import { keepResult } from '../catalogue/operations.ts';
import { endOperations, type Claim, type ClaimEnd, type EndedLog } from '../catalogue/transitions.ts';
import { epochMs } from '../catalogue/values.ts';
import { OBJECT_PREFIXES } from '../objects/object-store.ts';
import type { Queue } from '../queue/queue.ts';
import type { Adoption } from './adoption.ts';
import type { HeldClaims } from './held-claims.ts';

/** Largest log, compressed, that is kept in its row: most are small, and an object would cost more than they do. */
const ROW_LOG_BYTES_MAX = 16 * 1024;
/** Largest log, compressed; output is bounded, so no log is larger. */
const LOG_BYTES_MAX = 2 * 1024 ** 3 - 1;
/** Time between attempts to publish while the database is away. */
const RETRY_MS = 250;
/** Attempts at a publication whose layers are collected in between, which takes a collection each time. */
const ATTEMPTS_MAX = 5;

export interface PublisherParts {
  readonly database: ClusterDatabase;
  readonly objects: CatalogueObjects;
  readonly claims: HeldClaims;
  readonly queue: Queue;
  readonly engine: Engine;
  readonly adoption: Adoption;
}

/**
 * Publishes what operations of this node make: layers first, each to the object storage; then, in one transaction that
 * checks the claim, the image, its tag and the end of the operation. So what is published can always be read, and a node
 * that has lost an operation publishes nothing.
 */
export class Publisher implements Catalogue {
  /** Set before the first operation runs: the engine is opened with its catalogue. */
  #parts: PublisherParts | undefined;

  attach(parts: PublisherParts): void {
    this.#parts = parts;
  }

  async begin({ operation }: Pick<Publication, 'operation'>, signal: AbortSignal): Promise<void> {
    const { claims, queue, database } = this.#attached;
    const claim = claims.find(operation);
    if (claim === undefined) throw fault('LEASE_LOST', { operation });
    signal.throwIfAborted();
    if (await queue.begin(claim)) return;
    const statement = 'SELECT cancelled FROM operations WHERE uuid = $1 AND fence = $2';
    const [row] = await database.rows<{ cancelled: boolean }>(statement, operation, claim.fence);
    throw row?.cancelled === true ? fault('OPERATION_CANCELLED', { operation }) : fault('LEASE_LOST', { operation });
  }

  async publish(publication: Publication, signal: AbortSignal): Promise<Published> {
    const { claims } = this.#attached;
    const { operation, kind, image } = publication;
    const claim = claims.find(operation);
    if (claim === undefined) throw fault('LEASE_LOST', { operation });
    const made = image?.made;
    // Made while the layers are stored.
    const logging = kind === 'end' ? this.log(operation, signal) : undefined;
    // Rejects below, too, unless the layers could not be stored.
    logging?.catch(() => undefined);
    const published = await retryingCollected(async () => {
      // Until the transaction a cancelled operation need not wait for the database.
      if (made !== undefined) await this.#untilKnown(claim, () => (signal.throwIfAborted(), this.#store(made, signal)));
      const log = await logging;
      signal.throwIfAborted();
      return await this.#untilKnown(claim, () => this.#commit(claim, publication, log));
    });
    if (published.image !== undefined) {
      // Published, and cancelled by nothing any more; its layers are here.
      const never = new AbortController().signal;
      using _adopted = await this.#attached.adoption.image(publication.project, published.image, never);
    }
    if (image !== undefined) this.#attached.adoption.use(published.image ?? image.uuid);
    return published;
  }

  async resolve(project: string, source: string, signal: AbortSignal): Promise<string | undefined> {
    const { database, adoption } = this.#attached;
    try {
      // A Dockerfile names tags as they are.
      const image = await new CatalogueImages(database, project).get(isUuid(source) ? source : `tag:${source}`);
      using adopted = await adoption.known(project, image, signal);
      return adopted.uuid;
    } catch (error) {
      if (isFault(error, 'IMAGE_NOT_FOUND')) return undefined;
      throw error;
    }
  }

  /** Puts the log of an operation, as it is now, where its end will name it. */
  async log(operation: string, signal: AbortSignal): Promise<EndedLog> {
    const { engine, objects } = this.#attached;
    const content = await collect(engine.node.exportLog(operation), LOG_BYTES_MAX);
    if (content.byteLength <= ROW_LOG_BYTES_MAX) return { content, bytes: content.byteLength };
    const { sha256, bytes } = await objects.putBytes('logs/', content, signal);
    return { object: sha256, bytes };
  }

  /**
   * Stores the layers that the object storage lacks, and then their rows, which refer to them. Both are touched, so that
   * nobody takes them for unused that are about to be published.
   */
  async #store({ layers }: ImageToShare, signal: AbortSignal): Promise<void> {
    const { database, objects } = this.#attached;
    const digests = layers.map(({ digest }) => digest);
    const fresh = await database.rows<{ digest: string }>(
      `SELECT digest FROM layers WHERE digest = ANY ($1) AND used_at > now() - interval '1 hour'`,
      digests,
    );
    const known = new Set(fresh.map(({ digest }) => digest));
    const others = layers
      .filter(({ digest }) => !known.has(digest))
      .toSorted((left, right) => (left.digest < right.digest ? -1 : 1));
    if (others.length === 0) return;
    for (const { digest, bytes, path } of others) {
      const name = { key: `${OBJECT_PREFIXES.layer}${digest}`, sha256: digest, bytes };
      await objects.put({ ...name, path }, signal, { commit: 'later' });
    }
    // The publication, which waits for the disk, takes what it refers to with it.
    await database.run(
      `INSERT INTO layers (digest, bytes, entries)
       SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[])
       ON CONFLICT (digest) DO UPDATE SET used_at = now() RETURNING set_config('synchronous_commit', 'off', true)`,
      others.map(({ digest }) => digest),
      others.map(({ bytes }) => String(bytes)),
      others.map(({ entries }) => String(entries)),
    );
  }

  async #commit(claim: Claim, publication: Publication, log: EndedLog | undefined): Promise<Published> {
    const { kind, image, tag } = publication;
    // A root image may be there already, and a tag needs its image first.
    if (kind === 'end' && image?.made?.parent !== null && tag === undefined) {
      const end = endOf(publication, { image: image?.uuid, made: image?.made, log });
      const atMs = await this.#attached.queue.end(claim, end);
      if (atMs !== undefined) return { atMs };
      // The claim is lost, or this is the end of which an answer got lost.
    }
    return this.#commitAll(claim, publication, log);
  }

  async #commitAll(claim: Claim, publication: Publication, log: EndedLog | undefined): Promise<Published> {
    return this.#attached.database.transaction(async (sql) => {
      const earlier = await this.#checked(sql, claim, publication);
      if (earlier !== undefined) return earlier;
      const { kind, operation, project, image, tag } = publication;
      const made = image?.made;
      const known = made?.parent === null ? await findRoot(sql, project, made) : undefined;
      const result = known ?? image?.uuid;
      let atMs: number | undefined;
      const fresh = known === undefined ? made : undefined;
      const end = endOf(publication, { image: result, made: fresh, log });
      if (kind === 'end') atMs = (await endOperations(sql, [{ claim, end }])).get(operation);
      else if (fresh !== undefined && image !== undefined) {
        atMs = await insertImage(sql, project, { ...fresh, uuid: image.uuid, operation });
      }
      if (kind === 'result') await keepResult(sql, claim, end);
      if (tag !== undefined && result !== undefined) await setTag(sql, { project, name: tag, image: result });
      return { ...present({ image: known, atMs }) };
    });
  }

  /**
   * Checks, and keeps until the transaction ends, that the operation belongs to the claim. Returns what was published by a
   * transaction whose answer got lost. Faults: LEASE_LOST.
   */
  async #checked(sql: Sql, claim: Claim, { kind, image, project }: Publication): Promise<Published | undefined> {
    const { operation, fence } = claim;
    const [row] = await sql.rows<{ status: string; result: string | null; ended_ms: number | null }>(
      `SELECT status, result_image AS result, ${epochMs('finished_at')} AS ended_ms FROM operations
        WHERE uuid = $1 AND fence = $2 AND project = $3 FOR UPDATE`,
      operation,
      fence,
      project,
    );
    if (row === undefined) throw fault('LEASE_LOST', { operation });
    if (row.ended_ms === null) {
      if (kind === 'end' || image?.made === undefined) return undefined;
      const statement = `SELECT ${epochMs('created_at')} AS created_ms FROM images WHERE uuid = $1`;
      const [done] = await sql.rows<{ created_ms: number }>(statement, image.uuid);
      return done && { atMs: done.created_ms };
    }
    if (kind !== 'end' || row.status !== 'SUCCESS') throw fault('LEASE_LOST', { operation });
    const other = row.result !== null && row.result !== image?.uuid ? row.result : undefined;
    return { atMs: row.ended_ms, ...present({ image: other }) };
  }

  /** Repeats a transaction while the database is away, as long as the node believes in its claim. */
  async #untilKnown<Value>(claim: Claim, commit: () => Promise<Value>): Promise<Value> {
    for (;;) {
      try {
        return await commit();
      } catch (error) {
        if (!isFault(error, 'CLUSTER_UNAVAILABLE') || !this.#attached.claims.has(claim)) throw error;
        await pause(RETRY_MS);
      }
    }
  }

  get #attached(): PublisherParts {
    if (this.#parts === undefined) throw new Error('the publisher has no node yet');
    return this.#parts;
  }
}

/**
 * Repeats a publication that came so late that something it refers to had been collected as unused: the database refuses it
 * (SQLSTATE 23503, foreign_key_violation).
 */
async function retryingCollected(publish: () => Promise<Published>): Promise<Published> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await publish();
    } catch (error) {
      const isRefused = error instanceof Error && 'code' in error && error.code === '23503';
      if (!isRefused || attempt >= ATTEMPTS_MAX) throw error;
    }
  }
}

/** Returns the end that a publication is. */
function endOf(
  { tag, imageBytes, outcome, recorded }: Publication,
  more: Pick<ClaimEnd, 'log'> & { readonly image: string | undefined; readonly made: ImageToShare | undefined },
): ClaimEnd {
  const { image, ...rest } = more;
  return {
    status: 'SUCCESS',
    ...present({ resultImage: image, resultTag: tag, imageBytes, outcome, recorded, ...rest }),
  };
}
