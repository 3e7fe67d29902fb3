import type { Database } from '../database.ts';
import type { OutputStream } from './event-rows.ts';

/** Number of rows that are removed at once. */
const ROWS_MAX = 256;

/** Part of a log to remove output from: after an event, of all processes or of one stream of one. */
export type LogPart = { readonly after: number } & (
  | { readonly spid: number; readonly stream: OutputStream }
  | { readonly spid?: never; readonly stream?: never }
);

export interface DroppedRow {
  readonly id: number;
  readonly spid: number;
  readonly stream: OutputStream;
  /** Position of its first byte in the stream. */
  readonly offset: number;
  readonly bytes: number;
}

/** Output that was removed from a log; `last` is the id of its last event. */
export interface DroppedOutput {
  readonly last: number;
  readonly bytes: number;
  readonly rows: readonly DroppedRow[];
}

/** Events of one process that were removed; `done` when it has none any more. */
export interface DroppedProcess {
  readonly bytes: number;
  readonly outputRows: number;
  readonly done: boolean;
}

/**
 * Removes the oldest output of a part of a log, until so many bytes and rows are gone or a bounded number of rows. The facts
 * of the log stay.
 */
export function removeOutput(
  database: Database,
  operation: string,
  { after, spid, stream }: LogPart,
  wanted: { readonly bytes: number; readonly rows: number },
): DroppedOutput {
  const ofStream = spid === undefined ? '' : 'AND spid = ? AND type = ?';
  const values = spid === undefined ? [] : [spid, stream];
  const condition = `operation = ? ${ofStream} AND id > ? AND bytes IS NOT NULL`;
  const select = `SELECT id, spid, type AS stream, offset, length(bytes) AS bytes FROM events
    WHERE ${condition} ORDER BY id LIMIT ?`;
  const rows = database.all<DroppedRow>(select, operation, ...values, after, ROWS_MAX);
  let [last, bytes] = [after, 0];
  const dropped: DroppedRow[] = [];
  for (const row of rows) {
    if (bytes >= wanted.bytes && dropped.length >= wanted.rows) break;
    dropped.push(row);
    bytes += row.bytes;
    last = row.id;
  }
  database.run(`DELETE FROM events WHERE ${condition} AND id <= ?`, operation, ...values, after, last);
  return { last, bytes, rows: dropped };
}

/** Removes the oldest events of a process, a bounded number of them. */
export function removeProcess(database: Database, operation: string, spid: number): DroppedProcess {
  const select = `SELECT id, length(bytes) AS bytes FROM events WHERE operation = ? AND spid = ? ORDER BY id LIMIT ?`;
  const rows = database.all<{ id: number; bytes: number | null }>(select, operation, spid, ROWS_MAX);
  const last = rows.at(-1)?.id ?? -1;
  database.run('DELETE FROM events WHERE operation = ? AND spid = ? AND id <= ?', operation, spid, last);
  const output = rows.flatMap(({ bytes }) => (bytes === null ? [] : [bytes]));
  return {
    bytes: output.reduce((sum, bytes) => sum + bytes, 0),
    outputRows: output.length,
    done: rows.length < ROWS_MAX,
  };
}
