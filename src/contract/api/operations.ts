import { limits } from '../limits.ts';
import type { Rows } from './row.ts';

/** These bodies may contain standard input. */
const BODY = { bodyBytesMax: limits.jsonBodyBytesMax } as const;
const SPAWN = ['spawn', 'spawn_disposable'] as const;

/** Commands in fresh instances of images. */
export const RUNS = {
  /** Queues a run; `uuid` is the operation's. */
  start: {
    method: 'POST',
    path: '/instances',
    operationId: 'spawnInstance',
    refuses: [404],
    summary: 'Run a command in a fresh instance of an image',
    permissions: SPAWN,
    body: 'InstanceSpawnRequest',
    ...BODY,
    answer: 'RunStarted',
    wireAnswer: 'InstanceSpawnResponse',
    status: 201,
    success: 'accepted',
  },
} as const satisfies Rows;

/** Runs and imports, running or finished. */
export const OPERATIONS = {
  list: {
    method: 'GET',
    path: '/operations',
    operationId: 'listOperations',
    summary: 'List operations, newest first',
    permissions: ['list'],
    query: 'OperationQuery',
    answer: 'OperationSummaryList',
    status: 200,
    success: 'an array of OperationSummary',
  },
  get: {
    method: 'GET',
    path: '/operations/{operationId}',
    subject: 'operation',
    operationId: 'getOperationStatus',
    summary: 'Get an operation',
    permissions: ['list'],
    query: 'OperationGetQuery',
    wireQuery: 'InflightQuery',
    sends: { inflight: true },
    answer: 'OperationResponse',
    status: 200,
  },
  cancel: {
    method: 'DELETE',
    path: '/operations/{operationId}',
    subject: 'operation',
    operationId: 'cancelOperation',
    refuses: [409],
    summary: 'Cancel an operation',
    permissions: ['cancel'],
    status: 202,
    success: 'accepted',
  },
  /** Reads the operation's log from `since`; with `follow` it ends after the `completion` event. */
  events: {
    method: 'GET',
    path: '/operations/{operationId}/events',
    subject: 'operation',
    operationId: 'getOperationEvents',
    summary: "The operation's log as server-sent events; `follow` keeps streaming until its `completion`",
    permissions: ['list'],
    query: 'EventQuery',
    header: 'Last-Event-Id',
    stream: 'events',
    wireAnswer: 'OperationEventStream',
    mediaType: 'text/event-stream',
    status: 200,
  },
} as const satisfies Rows;

/** Processes of a running instance. */
export const PROCESSES = {
  /** Starts another process in a running instance. */
  start: {
    method: 'POST',
    path: '/operations/{operationId}/subprocesses',
    subject: 'operation',
    operationId: 'operationSubprocessCreate',
    refuses: [409, 425],
    summary: 'Execute another process in the running instance',
    permissions: SPAWN,
    body: 'ExecSpec',
    ...BODY,
    answer: 'SubprocessStarted',
    status: 201,
  },
  /** Returns the result of a process so far; -1 stands for "still running". */
  get: {
    method: 'GET',
    path: '/operations/{operationId}/subprocesses/{spid}',
    subject: 'process',
    operationId: 'operationSubprocess',
    summary: 'What a process has done so far; -1 stands for "still running"',
    permissions: ['list'],
    answer: 'InstanceResult',
    status: 200,
  },
  /** Sends a signal to the whole process group, by its name without SIG; default KILL. Rejects if the process has ended. */
  kill: {
    method: 'DELETE',
    path: '/operations/{operationId}/subprocesses/{spid}',
    subject: 'process',
    operationId: 'operationSubprocessKill',
    refuses: [409, 425],
    summary: 'Send a signal (default KILL) to the process group',
    permissions: SPAWN,
    query: 'KillQuery',
    status: 204,
  },
  /** Writes to the standard input of a process. */
  write: {
    method: 'POST',
    path: '/operations/{operationId}/subprocesses/{spid}/stdin',
    subject: 'process',
    operationId: 'operationSubprocessStdin',
    refuses: [409, 410, 425],
    summary: 'Write to the standard input of a process',
    permissions: SPAWN,
    body: 'ClosableStreamRepr',
    ...BODY,
    status: 204,
  },
  /** Sets the size of a process's terminal. */
  resize: {
    method: 'POST',
    path: '/operations/{operationId}/subprocesses/{spid}/resize',
    subject: 'process',
    operationId: 'operationSubprocessResize',
    refuses: [409, 425],
    summary: 'Tell a process the new size of its terminal',
    permissions: SPAWN,
    body: 'TerminalSize',
    status: 204,
    addition: true,
  },
} as const satisfies Rows;
