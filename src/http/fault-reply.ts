import { randomUUID } from 'node:crypto';
import { fault, isFault, type ContreeError } from '../contract/errors.ts';
import type { Log } from './log.ts';
import { json, type HttpReply } from './reply.ts';

/** Seconds after which a retry may help. */
const RETRY_AFTER: Readonly<Record<number, number>> = { 410: 3, 425: 1, 429: 2, 503: 5 };

/** Seconds for an engine that is stopping: it is soon gone, and the next one soon running. */
const LEAVING_SECONDS = 1;

/** JSON body of an error: the fields that clients of the hosted service read (`error`, `status`) and our own report. */
export function faultReply(error: ContreeError): HttpReply {
  const { httpStatus: status, detail } = error;
  const headers: Record<string, string> = {};
  const usual = error.code === 'ENGINE_UNAVAILABLE' ? LEAVING_SECONDS : RETRY_AFTER[status];
  const seconds = detail['retryAfterSeconds'] ?? usual;
  if (seconds !== undefined) headers['Retry-After'] = String(seconds);
  if (status === 401) headers['WWW-Authenticate'] = 'Bearer';
  return json({ error: error.message, status, ...error.toJSON() }, status, headers);
}

/**
 * Converts any thrown value to a fault. A value that is not a fault is a bug: it is logged completely, and the client
 * gets only an incident id.
 */
export function toFault(error: unknown, log: Log, fields: Readonly<Record<string, unknown>>): ContreeError {
  if (isFault(error)) return error;
  const incident = randomUUID();
  const cause = error instanceof Error ? (error.stack ?? error.message) : String(error);
  log.error({ ...fields, incident, cause }, 'internal error');
  return fault('INTERNAL', { incident }, { cause: error });
}
