import {
  MissingRequiredClientCapabilityError,
  type CallToolResult,
  type ServerContext,
} from '@modelcontextprotocol/server';
import { z } from 'zod';
import { isFault } from '../contract/errors.ts';
import { isFinished } from '../contract/operation-state.ts';
import { limits } from '../contract/limits.ts';
import type { ConTree } from '../contract/contree.ts';
import type { OperationResponse } from '../contract/operation.ts';
import { plainName, replyLater } from '../tools/index.ts';
import { clientCapabilities } from './session.ts';
import { protocolError } from './replies.ts';
import { resultOf } from './replies.ts';
import type { McpSession } from './session.ts';

/**
 * The Tasks extension (SEP-2663): a long call returns a task, and the client fetches its result itself. A task is an
 * operation and its id is the operation's UUID, so no state is kept here: tasks outlive this process, and tasks and
 * operations are interchangeable.
 */
const TASKS_EXTENSION = 'io.modelcontextprotocol/tasks';

const Declared = z.looseObject({ extensions: z.looseObject({ [TASKS_EXTENSION]: z.looseObject({}) }) });
const TaskParams = z.looseObject({ taskId: z.string().min(1).max(64) });

/** Task as seen by clients, in any state. */
interface Task {
  readonly taskId: string;
  readonly status: 'working' | 'completed' | 'cancelled';
  readonly statusMessage: string;
  readonly createdAt: string;
  readonly lastUpdatedAt: string;
  readonly ttlMs: null;
  readonly pollIntervalMs: number;
}

/**
 * Reports whether the client of this request declared the Tasks extension. Only clients since protocol 2026-07-28 can.
 */
export function takesTasks(session: McpSession, request: ServerContext): boolean {
  if (session.link.era !== 'modern') return false;
  return z.safeParse(Declared, clientCapabilities(session, request)).success;
}

/**
 * Returns the preliminary result of a call that continues as a task. A client that supports tasks uses only the task in
 * it.
 */
export function asTask(operation: OperationResponse, soFar: CallToolResult): CallToolResult {
  return { ...soFar, resultType: 'task', ...taskOf(operation) };
}

/** Answers `tasks/get`, `tasks/update` and `tasks/cancel`. */
export function registerTasks(session: McpSession): void {
  const { server, context, request: http } = session;
  server.server.registerCapabilities({ extensions: { [TASKS_EXTENSION]: {} } });
  const log = (line: string): void => context.log(line);
  const answer = (method: string, work: (contree: ConTree, id: string, signal: AbortSignal) => Promise<object>): void =>
    server.server.setRequestHandler(method, { params: TaskParams }, async ({ taskId }, request) => {
      if (!takesTasks(session, request)) {
        throw new MissingRequiredClientCapabilityError({
          requiredCapabilities: { extensions: { [TASKS_EXTENSION]: {} } },
        });
      }
      const { signal } = request.mcpReq;
      try {
        return { ...(await work(await context.contree(http), taskId, signal)) };
      } catch (error) {
        throw protocolError(error, { method, signal, log });
      }
    });
  answer('tasks/get', async (contree, id, signal) => {
    const query = { output_bytes: limits.toolOutputBytesDefault };
    const operation = await contree.operations.get(id, query, signal);
    const task = taskOf(operation);
    if (task.status !== 'completed') return task;
    const reply = await replyLater(operation, { contree, signal, log });
    return { ...task, result: { resultType: 'complete', ...resultOf(reply) } };
  });
  // Our tasks request no input, so only their existence is acknowledged.
  answer('tasks/update', async (contree, id, signal) => {
    await contree.operations.get(id, { output_bytes: 0 }, signal);
    return {};
  });
  answer('tasks/cancel', async (contree, id, signal) => {
    await cancelIfRunning(contree, id, signal);
    return {};
  });
}

function taskOf({ uuid, status, subject, created_at: createdAt, duration }: OperationResponse): Task {
  const ended = isFinished(status);
  // A failed operation is a completed task whose result is an error; `failed` is for protocol errors.
  const final = status === 'CANCELLED' ? 'cancelled' : 'completed';
  const lastMs = ended ? Date.parse(createdAt) + duration * 1_000 : Date.now();
  return {
    taskId: uuid,
    status: ended ? final : 'working',
    statusMessage: subject === undefined ? status : `${status} · ${plainName(subject)}`,
    createdAt,
    lastUpdatedAt: new Date(lastMs).toISOString(),
    ttlMs: null,
    pollIntervalMs: limits.taskPollMs,
  };
}

async function cancelIfRunning(contree: ConTree, id: string, signal: AbortSignal): Promise<void> {
  try {
    await contree.operations.cancel(id, signal);
  } catch (error) {
    if (!isFault(error, 'OPERATION_FINISHED')) throw error;
  }
}
