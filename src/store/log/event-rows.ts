import { EVENT_DATA, OperationEventType, type EventData } from '../../contract/event.ts';
import { ImportProgress } from '../../contract/image.ts';
import { defined } from '../../std/assert.ts';
import { parseColumn, parseValue } from '../database.ts';

export type OutputStream = 'stdout' | 'stderr';
export type FactType = Exclude<OperationEventType, OutputStream>;

interface Stamp {
  /** Number of the event within the operation, from 0 without gaps. */
  readonly id: number;
  readonly atMs: number;
  readonly spid: number;
}

/** One entry of an operation's log; output is bytes. */
export type StoredEvent = Stamp &
  (
    | {
        readonly type: OutputStream;
        /** Position of the first byte in the stream of this process. */
        readonly offset: number;
        readonly bytes: Uint8Array;
        /** State of an import when the last of these bytes were written. */
        readonly progress?: ImportProgress;
      }
    | { [Type in FactType]: { readonly type: Type; readonly data: EventData<Type> } }[FactType]
  );
export type StoredOutput = Extract<StoredEvent, { readonly type: OutputStream }>;

/** Row of the table `events`. */
export interface EventRow {
  readonly id: number;
  readonly at: number;
  readonly spid: number;
  readonly type: string;
  readonly data: string | null;
  readonly offset: number | null;
  readonly bytes: Uint8Array | null;
}

/** Part of a log after an event: of all processes or of one. */
export interface PageKey {
  readonly operation: string;
  readonly since: number;
  readonly spid: number | undefined;
}

/** Returns the condition of a part of a log, and its values. */
export function selection({ operation, since, spid }: PageKey): [condition: string, ...values: (string | number)[]] {
  if (spid === undefined) return ['operation = ? AND id > ?', operation, since];
  return ['operation = ? AND spid = ? AND id > ?', operation, spid, since];
}

/** Returns the event of a row. */
export function parseEvent(operation: string, row: EventRow): StoredEvent {
  const { id, at: atMs, spid } = row;
  const what = `event ${id} of operation ${operation}`;
  const type = parseValue(OperationEventType, row.type, what);
  if (type === 'stdout' || type === 'stderr') {
    const bytes = defined(row.bytes, 'output has bytes');
    const output = { id, atMs, spid, type, offset: defined(row.offset, 'output has an offset'), bytes };
    return row.data === null ? output : { ...output, progress: parseColumn(ImportProgress, row.data, what) };
  }
  const data = parseColumn(EVENT_DATA[type], defined(row.data, 'a fact has data'), what);
  return { id, atMs, spid, type, data } as StoredEvent;
}
