import type { OperationKind } from '../../contract/operation.ts';
import type { ImageToShare, RecordedUse } from '../../engine/node/catalogue.ts';
import type { OperationEnd } from '../../store/operations.ts';
import type { Layer } from '../../store/layers.ts';
import type { Sql, SqlValue } from './database.ts';
import { imageContentKey } from './images.ts';
import { epochMs } from './values.ts';

/** Operation to be accepted. */
export interface AcceptedOperation {
  readonly uuid: string;
  readonly project: string;
  readonly token: string | undefined;
  readonly kind: OperationKind;
  readonly stays: boolean;
  /** Request as JSON, without secrets. */
  readonly request: string;
  /** The same with secrets, encrypted. */
  readonly work: Buffer;
  /** UUID of its input image. */
  readonly image: string | undefined;
  /** Key under which its result may be given to equal runs. */
  readonly reuseKey?: string | undefined;
  /** True when no node needs to be told, because the one that accepts it will take it. */
  readonly quiet?: boolean;
}

/** An operation that belongs to a node, as long as its fence is the latest. */
export interface Claim {
  readonly operation: string;
  readonly fence: number;
}

/** Log of an operation that ends: itself, or the digest of its object. */
export type EndedLog = { readonly bytes: number } & ({ readonly content: Buffer } | { readonly object: string });

/** End of an operation of a claim, with what it publishes and what is recorded of it. */
export interface ClaimEnd extends OperationEnd {
  /** Image that it makes, which is its result; its layers are in the object storage. */
  readonly made?: Omit<ImageToShare, 'layers'> & { readonly layers: readonly Pick<Layer, 'digest'>[] };
  readonly log?: EndedLog | undefined;
  /** Present where equal runs may be given the result. */
  readonly recorded?: RecordedUse | undefined;
}

/**
 * Accepts operations, in one statement: they wait from now on, and survive whatever happens. Returns the UUIDs of those that
 * were: an operation whose image was deleted meanwhile is not.
 */
export async function acceptOperations(sql: Sql, operations: readonly AcceptedOperation[]): Promise<Set<string>> {
  const rows = await sql.rows<{ uuid: string }>(
    `WITH input AS (SELECT uuid, project FROM images WHERE uuid = ANY ($8::uuid[]) ORDER BY uuid FOR KEY SHARE)
     INSERT INTO operations (uuid, project, token, kind, stays, request, work, image, reuse_key)
     SELECT uuid, project, token, kind, stays, request, work, image, reuse_key
       FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::boolean[], $6::text[], $7::bytea[], $8::uuid[], $9::text[])
         WITH ORDINALITY AS given (uuid, project, token, kind, stays, request, work, image, reuse_key, place)
      WHERE image IS NULL OR EXISTS (
        SELECT FROM input WHERE input.uuid = given.image AND input.project = given.project
      ) ORDER BY place
     RETURNING uuid, CASE WHEN $10 THEN pg_notify('contree_queue', '')::text END`,
    ...columns(operations, [
      ({ uuid }) => uuid,
      ({ project }) => project,
      ({ token }) => token,
      ({ kind }) => kind,
      ({ stays }) => stays,
      ({ request }) => request,
      ({ work }) => work,
      ({ image }) => image,
      ({ reuseKey }) => reuseKey,
    ]),
    operations.some(({ quiet }) => quiet !== true),
  );
  return new Set(rows.map(({ uuid }) => uuid));
}

/**
 * Marks that work of claims begins, in one statement: from now on no other node will begin it. Returns the UUIDs of those
 * that may: neither is the claim lost, nor was the operation cancelled.
 */
export async function beginOperations(sql: Sql, claims: readonly Claim[]): Promise<Set<string>> {
  const rows = await sql.rows<{ uuid: string }>(
    `UPDATE operations SET status = 'EXECUTING', started_at = clock_timestamp()
       FROM unnest($1::uuid[], $2::bigint[]) AS given (operation, number)
      WHERE uuid = operation AND fence = number AND status = 'ASSIGNED' AND NOT cancelled RETURNING uuid`,
    ...columns(claims, [({ operation }) => operation, ({ fence }) => fence]),
  );
  return new Set(rows.map(({ uuid }) => uuid));
}

/**
 * Ends operations of claims, in one statement, with the images that they make, and records their results for equal runs.
 * Returns their times, ms since 1970; none of one whose claim is lost or that has ended already, of which nothing is
 * published.
 */
export async function endOperations(
  sql: Sql,
  ends: readonly { readonly claim: Claim; readonly end: ClaimEnd }[],
): Promise<Map<string, number>> {
  const rows = await sql.rows<{ uuid: string; finished_ms: number }>(
    `WITH ended AS (
       UPDATE operations SET status = given.status, result_image = given.result_image, result_tag = given.result_tag,
         image_bytes = given.image_bytes, outcome = given.outcome, error = given.error, error_code = given.error_code,
         log = given.log, log_object = given.log_object, log_bytes = given.log_bytes, finished_at = clock_timestamp(),
         work = NULL
         FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::uuid[], $5::text[], $6::bigint[], $7::text[], $8::text[],
           $9::text[], $10::bytea[], $11::text[], $12::bigint[], $13::text[], $14::boolean[], $15::uuid[], $16::text[],
           $17::integer[], $18::bigint[], $19::text[], $20::text[], $21::json[])
           AS given (operation, number, status, result_image, result_tag, image_bytes, outcome, error, error_code, log,
             log_object, log_bytes, sandbox, network, parent, command, exit_code, layer_bytes, config, content, layers)
        WHERE uuid = operation AND fence = number AND finished_at IS NULL
       RETURNING uuid, project, reuse_key, sandbox, network, finished_at, given.result_image, parent, command, exit_code,
         layer_bytes, config, content, layers
     ), made AS (
       INSERT INTO images (uuid, project, parent, operation, command, exit_code, layer_bytes, config, content)
       SELECT result_image, project, parent, uuid, command, exit_code, layer_bytes, config, content FROM ended
        WHERE config IS NOT NULL
     ), stacked AS (
       INSERT INTO image_layers (image, position, layer)
       SELECT result_image, place - 1, digest
         FROM ended, json_array_elements_text(layers) WITH ORDINALITY AS listed (digest, place)
     ), recorded AS (
       INSERT INTO recorded_runs (project, key, sandbox, network, operation)
       SELECT DISTINCT ON (project, reuse_key, sandbox, network) project, reuse_key, sandbox, network, uuid FROM ended
        WHERE reuse_key IS NOT NULL AND sandbox IS NOT NULL ORDER BY project, reuse_key, sandbox, network
       ON CONFLICT (project, key, sandbox, network) DO UPDATE SET operation = excluded.operation
     ) SELECT uuid, ${epochMs('finished_at')} AS finished_ms FROM ended`,
    ...columns(ends, [
      ({ claim }) => claim.operation,
      ({ claim }) => claim.fence,
      ({ end }) => end.status,
      ({ end }) => end.resultImage,
      ({ end }) => end.resultTag,
      ({ end }) => end.imageBytes,
      ({ end }) => (end.outcome === undefined ? undefined : JSON.stringify(end.outcome)),
      ({ end }) => end.error,
      ({ end }) => end.errorCode,
      ({ end: { log } }) => (log !== undefined && 'content' in log ? log.content : undefined),
      ({ end: { log } }) => (log !== undefined && 'object' in log ? log.object : undefined),
      ({ end }) => end.log?.bytes,
      ({ end }) => end.recorded?.sandbox,
      ({ end }) => end.recorded?.network,
      ({ end }) => end.made?.parent,
      ({ end }) => end.made?.command,
      ({ end }) => end.made?.exitCode,
      ({ end }) => end.made?.layerBytes,
      ({ end: { made } }) => made && JSON.stringify(made.config),
      ({ end: { made } }) => made && imageContentKey(made),
      ({ end: { made } }) => made && JSON.stringify(made.layers.map(({ digest }) => digest)),
    ]),
  );
  return new Map(rows.map(({ uuid, finished_ms: finishedMs }) => [uuid, finishedMs]));
}

type Scalar = Exclude<SqlValue, readonly unknown[]>;

/** Returns a list for each field: the form in which a statement takes many rows. */
function columns<Row>(rows: readonly Row[], fields: readonly ((row: Row) => Scalar | undefined)[]): Scalar[][] {
  return fields.map((field) => rows.map((row) => field(row) ?? null));
}
