import { randomUUID } from 'node:crypto';
import { fault, isFault, type ContreeError } from '../contract/errors.ts';
import type { Log } from './log.ts';
import { json, type HttpReply } from './reply.ts';

/** Seconds after which asking again may help. */
const RETRY_AFTER: Readonly<Record<number, number>> = { 410: 3, 425: 1, 429: 2, 503: 5 };

/** An engine that leaves is soon gone, and the next one soon there. */
const LEAVING_SECONDS = 1;

/** The one error shape: what clients of the hosted service read (`error`, `status`) and our own report. */
export function faultReply(error: ContreeError): HttpReply {
  const { httpStatus: status, detail } = error;
  const headers: Record<string, string> = {};
  const usual = error.code === 'ENGINE_UNAVAILABLE' ? LEAVING_SECONDS : RETRY_AFTER[status];
  const seconds = detail['retryAfterSeconds'] ?? usual;
  if (seconds !== undefined) headers['Retry-After'] = String(seconds);
  if (status === 401) headers['WWW-Authenticate'] = 'Bearer';
  return json({ error: error.message, status, ...error.toJSON() }, status, headers);
}

/** Turns whatever was thrown into a fault. What is not one of ours is a bug: logged whole, reported by id only. */
export function toFault(error: unknown, log: Log, fields: Readonly<Record<string, unknown>>): ContreeError {
  if (isFault(error)) return error;
  const incident = randomUUID();
  const cause = error instanceof Error ? (error.stack ?? error.message) : String(error);
  log.error({ ...fields, incident, cause }, 'internal error');
  return fault('INTERNAL', { incident }, { cause: error });
}
