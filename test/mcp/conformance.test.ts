import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { join } from 'node:path';
import { test } from 'node:test';
import { openCli } from '../support/cli-bench.ts';
import { serveFixtures } from '../support/conformance/server.ts';
import { runConformance, type Check } from '../support/conformance/suite.ts';
import { ROOT } from '../support/home.ts';

/**
 * Scenarios for any server, whatever tools, prompts and resources it has. Logging and subscriptions to resources are
 * left out, although they need no fixture: they are optional, and the product does not declare them.
 */
const FIXTURE_FREE: Readonly<Record<string, readonly string[]>> = {
  '2025-11-25': [
    'server-initialize',
    'ping',
    'tools-list',
    'server-sse-multiple-streams',
    'resources-list',
    'prompts-list',
    'dns-rebinding-protection',
    'server-session-lifecycle',
  ],
  '2026-07-28': [
    'server-stateless',
    'tools-list',
    'server-sse-multiple-streams',
    'resources-list',
    'sep-2164-resource-not-found',
    'prompts-list',
    'dns-rebinding-protection',
    'caching',
    'input-required-result-unsupported-methods',
    'http-header-validation',
  ],
};

/** The same for the Tasks extension, whose other scenarios need tools of the suite. */
const FIXTURE_FREE_TASKS: readonly string[] = [
  'tasks-extension-advertised',
  'sep-2663-tasks-methods-non-declaring',
  'sep-2663-tasks-result-removed-method-not-found',
  'tasks-removed-tasks-list',
  'sep-2663-tasks-get-invalid-task-id-32602',
  'tasks-headers-reject-mismatched-method',
];

/**
 * Checks of task features that ours never use: requesting input (elicitation comes before the task), failing as the
 * protocol does (a failed operation is a completed task whose result is an error), and tools that clients without tasks
 * cannot call.
 */
const TASKS_OF_OTHERS: readonly string[] = [
  'sep-2663-tasks-get-status-input-required',
  'tasks-mrtr-tasks-update-resumes',
  'tasks-mrtr-partial-fulfillment',
  'tasks-result-type-complete-on-non-task-responses',
  'sep-2663-tasks-get-status-failed',
  'sep-2663-server-returns-missing-capability-when-required',
];

const failures = (checks: readonly Check[]): string[] =>
  checks
    .filter(({ status }) => status === 'FAILURE')
    .map(({ scenario, id, errorMessage }) => `${scenario} ${id}: ${errorMessage}`);

for (const [revision, scenarios] of Object.entries(FIXTURE_FREE)) {
  test(`the conformance suite, ${revision}: the product fails nothing that needs no fixture`, async () => {
    await using cli = await openCli();
    await using product = await startProduct(cli.folder);
    const all = await runConformance(product.url, revision);
    const checks = all.filter(({ scenario }) => scenarios.includes(scenario));
    assert.deepEqual(new Set(checks.map(({ scenario }) => scenario)), new Set(scenarios), 'every scenario ran');
    // Four checks in `server-stateless` are about tools of the suite; it reports itself that they could not be made.
    const untestable = checks.filter(({ details }) => details?.untestable === true);
    assert.deepEqual(failures(checks.filter((check) => !untestable.includes(check))), []);
    for (const { errorMessage } of untestable) assert.match(errorMessage ?? '', /does not list the diagnostic tool/u);
    if (revision < '2026-07-28') return;
    const tasks = all.filter(({ id }) => FIXTURE_FREE_TASKS.includes(id));
    assert.equal(tasks.length, FIXTURE_FREE_TASKS.length);
    assert.deepEqual(failures(tasks), []);
  });

  test(`the conformance suite, ${revision}: the server factory with the suite's fixtures fails nothing`, async () => {
    await using server = await serveFixtures();
    const checks = await runConformance(server.url, revision);
    assert.ok(checks.filter(({ status }) => status === 'SUCCESS').length > 75, 'the suite ran');
    assert.deepEqual(failures(checks.filter(({ id }) => !TASKS_OF_OTHERS.includes(id))), []);
  });
}

async function startProduct(dataDir: string): Promise<AsyncDisposable & { readonly url: string }> {
  const args = [
    join(ROOT, 'bin/contree-mcp'),
    '--mode',
    'http',
    '--http-port',
    '0',
    '--data-dir',
    dataDir,
    '--auth',
    'none',
  ];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const ended = once(child, 'exit');
  for await (const line of createInterface({ input: child.stderr })) {
    const [, url] = /^MCP at (\S+),/u.exec(line) ?? [];
    if (url === undefined) continue;
    return {
      url,
      [Symbol.asyncDispose]: async () => {
        child.kill('SIGTERM');
        await ended;
      },
    };
  }
  throw new Error('the server ended');
}
