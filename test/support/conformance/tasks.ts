import type { CallToolResult, ServerContext } from '@modelcontextprotocol/server';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { isFinished } from '../../../src/contract/operation-state.ts';
import type { OperationResponse } from '../../../src/contract/operation.ts';
import type { McpSession } from '../../../src/mcp/session.ts';
import { asTask, takesTasks } from '../../../src/mcp/tasks.ts';
import { ScriptedContree } from '../scripted/contree.ts';
import { text } from './contents.ts';
import { rounds, askName } from './questions.ts';
import { until } from '../time/until.ts';

/** The suite's long-running tools. Their tasks are operations, served by the product's own `tasks/…` methods. */

/** A ConTree whose guests can run for a while: `compute SECONDS WORDS` prints the words at the end. */
export function computingContree(): ScriptedContree & { readonly computer: string } {
  const contree = new ScriptedContree({
    compute: async ({ args: [seconds, ...words], signalled, out }) => {
      const stop = new AbortController();
      // The program's own work.
      const slept = delay(Number(seconds) * 1_000, 0, { signal: stop.signal }).catch(() => -1);
      const code = await Promise.race([slept, signalled.then(() => -1)]);
      stop.abort();
      out(words.join(' '));
      return code;
    },
  });
  return Object.assign(contree, { computer: contree.addImage() });
}

export function registerLong(session: McpSession, contree: ReturnType<typeof computingContree>): void {
  const { server } = session;
  server.registerTool(
    'greet',
    { description: 'answers at once', inputSchema: z.object({ name: z.string() }) },
    ({ name }) => text(`Hello, ${name}!`),
  );
  server.registerTool(
    'slow_compute',
    { description: 'takes a while', inputSchema: z.object({ seconds: z.number(), label: z.string().optional() }) },
    async ({ seconds }, request) => {
      const operation = await started(contree, seconds);
      const later = seconds > 0 && takesTasks(session, request);
      return later ? asTask(operation, text('goes on')) : await whenDone(contree, operation);
    },
  );
  server.registerTool('failing_job', { description: 'fails' }, async () => {
    const { uuid } = await contree.images.import({ registry: { url: 'docker://missing' } });
    return asTask(await contree.operations.get(uuid), text('goes on'));
  });
  const first = rounds({ user_name: askName() });
  server.registerTool(
    'test_tool_with_task',
    { description: 'asks, then takes a while' },
    async (request: ServerContext) => {
      const answer = await first(request);
      return 'inputRequests' in answer
        ? answer
        : asTask(await started(contree, 1, JSON.stringify(request.mcpReq.inputResponses)), text('goes on'));
    },
  );
}

async function started(
  contree: ReturnType<typeof computingContree>,
  seconds: number,
  words = 'computed',
): Promise<OperationResponse> {
  const { uuid } = await contree.runs.start({
    image: contree.computer,
    command: 'compute',
    args: [`${seconds}`, words],
  });
  return await contree.operations.get(uuid);
}

async function whenDone(contree: ScriptedContree, { uuid }: OperationResponse): Promise<CallToolResult> {
  await until(async () => isFinished((await contree.operations.get(uuid)).status));
  return text('computed');
}
