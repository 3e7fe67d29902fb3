import { API } from '../../contract/api/index.ts';
import type { Row } from '../../contract/api/row.ts';
import { WIRE_ONLY } from '../../contract/api/wire-only.ts';
import type { PushEvent } from '../../contract/image.ts';
import { empty, json, stream, type HttpReply } from '../reply.ts';
import type { Call, RouteHandler } from './call.ts';
import { HANDLERS } from './handlers.ts';
import { streamedLines } from './json-lines.ts';
import { SERVER_GROUPS } from './server-groups.ts';

/** Row and its handler. */
export interface Route {
  readonly row: Row;
  readonly handle: RouteHandler;
}

type AnyMethod = (...args: readonly unknown[]) => unknown;
type AnyGroups = Readonly<Record<string, Readonly<Record<string, AnyMethod>> | undefined>>;
type AnyHandlers = Readonly<Record<string, Readonly<Record<string, RouteHandler>> | undefined>>;

/** Returns a handler that calls the row's method with the parsed request and answers with its result. */
function called(group: string, name: string, row: Row): RouteHandler {
  const takes = inputOf(row);
  return async (call) => {
    // The table types names, arguments and results; the types of single rows are lost in a loop over all of them.
    const methods = isServerGroup(group)
      ? (SERVER_GROUPS[group](call) as unknown as AnyGroups[string])
      : (call.contree as unknown as AnyGroups)[group];
    const input = takes === undefined ? [] : [call[takes]];
    return reply(row, await methods?.[name]?.(...call.subject, ...input, call.signal), call);
  };
}

function inputOf(row: Row): 'query' | 'body' | undefined {
  if (row.query !== undefined) return 'query';
  return row.body || row.upload ? 'body' : undefined;
}

function isServerGroup(group: string): group is keyof typeof SERVER_GROUPS {
  return Object.hasOwn(SERVER_GROUPS, group);
}

/** Converts the result of a method to the answer of its row on the wire. */
async function reply(row: Row, result: unknown, { log }: Call): Promise<HttpReply> {
  const { stream: kind, mediaType = 'application/octet-stream', field, status } = row;
  if (kind === 'push') {
    const lines = await streamedLines(result as AsyncIterable<PushEvent>, (error) =>
      log.warn({ err: error }, 'a push failed'),
    );
    return stream(lines, mediaType);
  }
  if (kind === 'bytes') return stream(result as AsyncIterable<Uint8Array>, mediaType);
  if (row.answer === undefined) return empty(status);
  return json(field === undefined ? result : { [field]: result }, status);
}

/** Every operation of `/v1`. */
export const ROUTES: readonly Route[] = [
  ...Object.entries(API).flatMap(([group, rows]) =>
    Object.entries<Row>(rows).map(([name, row]) => ({
      row,
      handle: (HANDLERS as unknown as AnyHandlers)[group]?.[name] ?? called(group, name, row),
    })),
  ),
  ...Object.entries<Row>(WIRE_ONLY).map(([name, row]) => ({
    row,
    handle: (HANDLERS.wireOnly as unknown as Readonly<Record<string, RouteHandler>>)[name] as RouteHandler,
  })),
];
