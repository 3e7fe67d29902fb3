import type { OPERATIONS } from '../../contract/api/operations.ts';
import { EventId } from '../../contract/event.ts';
import { toFault } from '../fault-reply.ts';
import { stream } from '../reply.ts';
import type { RouteHandler } from './call.ts';
import { eventStream } from './event-stream.ts';
import { readParameter } from './parse.ts';

/** Streams an operation's log, from after the last event that the client has seen. */
export const EVENTS: RouteHandler<(typeof OPERATIONS)['events']> = async (call) => {
  const { contree, request, closing, query, log } = call;
  const [operation] = call.subject;
  const signal = closing ? AbortSignal.any([call.signal, closing]) : call.signal;
  const resume = request.headers.get('last-event-id');
  const since = resume === null ? query.since : readParameter(EventId, 'Last-Event-Id', resume);
  const events = contree.operations.events(operation, { ...query, since }, signal);
  const onError = (error: unknown): void => {
    if (!signal.aborted) toFault(error, log, { operation });
  };
  // Reverse proxies such as nginx buffer answers unless told not to.
  return stream(await eventStream(events, onError), 'text/event-stream', { 'X-Accel-Buffering': 'no' });
};
