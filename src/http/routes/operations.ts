import { isUuid } from '../../contract/image.ts';
import { fault } from '../../contract/errors.ts';
import { OPERATION_STATUSES } from '../../contract/operation.ts';
import { ExecSpec, ClosableStreamRepr, InstanceSpawnRequest } from '../../contract/run.ts';
import { authorize } from '../auth.ts';
import { eventStream } from '../event-stream.ts';
import { toFault } from '../fault-reply.ts';
import { choice, flag, integer, PAGE, present, text } from '../params.ts';
import { empty, json, stream } from '../reply.ts';
import { pathParameter, route, type Route } from '../route.ts';
import { SubprocessStarted, TerminalSize } from '../schemas.ts';
import { started } from './images.ts';

const EVENT_ID = integer(-1, Number.MAX_SAFE_INTEGER);
/** No log has so many events. */
const BEYOND = 10 ** 14;
const SPID = integer(0, 2 ** 31 - 1);
const SPAWN = ['spawn', 'spawn_disposable'] as const;

type WithPath = { readonly path: Readonly<Record<string, string>> };

function operationOf(call: WithPath): string {
  const operation = pathParameter(call, 'operationId');
  if (!isUuid(operation)) throw fault('OPERATION_NOT_FOUND', { operation: JSON.stringify(operation.slice(0, 100)) });
  return operation.toLowerCase();
}

function spidOf(call: WithPath): number {
  return SPID.read([pathParameter(call, 'spid')], 'spid');
}

const SPAWNING: readonly Route[] = [
  route({
    method: 'POST',
    path: '/instances',
    operationId: 'spawnInstance',
    summary: 'Run a command in a fresh instance of an image',
    permissions: SPAWN,
    // Clients built on dumped models send the empty fields of their own classes too.
    body: { schema: InstanceSpawnRequest, name: 'InstanceSpawnRequest', tolerated: ['result', 'stdin.truncated'] },
    response: { status: 201, description: 'accepted', schema: 'InstanceSpawnResponse' },
    handle: async ({ contree, principal, body, signal }) => {
      authorize(principal, body.disposable ? SPAWN : ['spawn']);
      return started((await contree.spawn(body, signal)).uuid, body);
    },
  }),
];

const OPERATIONS: readonly Route[] = [
  route({
    method: 'GET',
    path: '/operations',
    operationId: 'listOperations',
    summary: 'List operations, newest first',
    permissions: ['list'],
    query: { ...PAGE, status: choice(...OPERATION_STATUSES), kind: choice('image_import', 'instance') },
    response: { status: 200, description: 'an array of OperationSummary', schema: 'OperationSummaryList' },
    handle: async ({ contree, query, signal }) => json(await contree.listOperations(present(query), signal)),
  }),
  route({
    method: 'GET',
    path: '/operations/{operationId}',
    operationId: 'getOperationStatus',
    summary: 'Get an operation',
    permissions: ['list'],
    query: { inflight: flag() },
    response: { status: 200, description: 'ok', schema: 'OperationResponse' },
    handle: async (call) => json(await call.contree.getOperation(operationOf(call), call.signal)),
  }),
  route({
    method: 'DELETE',
    path: '/operations/{operationId}',
    operationId: 'cancelOperation',
    summary: 'Cancel an operation',
    permissions: ['cancel'],
    response: { status: 202, description: 'accepted' },
    handle: async (call) => {
      await call.contree.cancelOperation(operationOf(call), call.signal);
      return empty(202);
    },
  }),
  route({
    method: 'GET',
    path: '/operations/{operationId}/events',
    operationId: 'getOperationEvents',
    summary: "The operation's log as server-sent events; `follow` keeps streaming until its `completion`",
    permissions: ['list'],
    query: { follow: flag(), spid: SPID, since: EVENT_ID, full: flag() },
    response: { status: 200, description: 'ok', schema: 'OperationEventStream', mediaType: 'text/event-stream' },
    handle: async (call) => {
      const { contree, request, closing } = call;
      const signal = closing ? AbortSignal.any([call.signal, closing]) : call.signal;
      const operation = operationOf(call);
      const resume = request.headers.get('last-event-id');
      const since = resume === null ? call.query.since : EVENT_ID.read([resume], 'Last-Event-Id');
      // Read from beyond its end, a log says whether it is there, and nothing else: the operation itself may hold megabytes.
      for await (const _ of contree.events(operation, { since: BEYOND }, signal)) break;
      const events = contree.events(operation, present({ ...call.query, since }), signal);
      const onError = (error: unknown): void => {
        if (!signal.aborted) toFault(error, call.log, { operation });
      };
      // Proxies such as nginx hold answers back unless they are told not to.
      return stream(await eventStream(events, onError), 'text/event-stream', { 'X-Accel-Buffering': 'no' });
    },
  }),
];

const SUBPROCESSES: readonly Route[] = [
  route({
    method: 'POST',
    path: '/operations/{operationId}/subprocesses',
    operationId: 'operationSubprocessCreate',
    summary: 'Execute another process in the running instance',
    permissions: SPAWN,
    body: { schema: ExecSpec, name: 'ExecSpec', tolerated: ['stdin.truncated'] },
    response: { status: 201, description: 'ok', schema: SubprocessStarted },
    handle: async (call) => json(await call.contree.exec(operationOf(call), call.body, call.signal), 201),
  }),
  route({
    method: 'GET',
    path: '/operations/{operationId}/subprocesses/{spid}',
    operationId: 'operationSubprocess',
    summary: 'What a process has done so far; -1 stands for "still running"',
    permissions: ['list'],
    response: { status: 200, description: 'ok', schema: 'InstanceResult' },
    handle: async (call) => json(await call.contree.getSubprocess(operationOf(call), spidOf(call), call.signal)),
  }),
  route({
    method: 'DELETE',
    path: '/operations/{operationId}/subprocesses/{spid}',
    operationId: 'operationSubprocessKill',
    summary: 'Send a signal (default TERM) to the process group',
    permissions: SPAWN,
    query: { signal: text(16) },
    response: { status: 204, description: 'ok' },
    handle: async (call) => {
      const name = call.query.signal?.toUpperCase().replace(/^SIG/u, '') || undefined;
      await call.contree.killSubprocess(operationOf(call), spidOf(call), name, call.signal);
      return empty(204);
    },
  }),
  route({
    method: 'POST',
    path: '/operations/{operationId}/subprocesses/{spid}/stdin',
    operationId: 'operationSubprocessStdin',
    summary: 'Write to the standard input of a process',
    permissions: SPAWN,
    body: { schema: ClosableStreamRepr, name: 'ClosableStreamRepr', tolerated: ['truncated'] },
    response: { status: 204, description: 'ok' },
    handle: async (call) => {
      await call.contree.writeStdin(operationOf(call), spidOf(call), call.body, call.signal);
      return empty(204);
    },
  }),
  route({
    method: 'POST',
    path: '/operations/{operationId}/subprocesses/{spid}/resize',
    operationId: 'operationSubprocessResize',
    summary: 'Tell a process the new size of its terminal',
    permissions: SPAWN,
    body: { schema: TerminalSize },
    response: { status: 204, description: 'ok' },
    handle: async (call) => {
      await call.contree.resizeTerminal(operationOf(call), spidOf(call), call.body, call.signal);
      return empty(204);
    },
  }),
];

export const OPERATION_ROUTES: readonly Route[] = [...SPAWNING, ...OPERATIONS, ...SUBPROCESSES];
