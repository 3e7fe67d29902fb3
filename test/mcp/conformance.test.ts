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
 * Scenarios that any server can be asked, whatever tools, prompts and resources it has. Not among them, although they
 * need no fixture: logging and subscriptions to resources, which are optional and which the product does not declare.
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

const failures = (checks: readonly Check[]): string[] =>
  checks
    .filter(({ status }) => status === 'FAILURE')
    .map(({ scenario, id, errorMessage }) => `${scenario} ${id}: ${errorMessage}`);

for (const [revision, scenarios] of Object.entries(FIXTURE_FREE)) {
  test(`the conformance suite, ${revision}: the product fails nothing that needs no fixture`, async () => {
    await using cli = await openCli();
    await using product = await startProduct(cli.folder);
    const checks = (await runConformance(product.url, revision)).filter(({ scenario }) => scenarios.includes(scenario));
    assert.deepEqual(new Set(checks.map(({ scenario }) => scenario)), new Set(scenarios), 'every scenario ran');
    // Inside `server-stateless` four checks are about tools of the suite; it says itself that they could not be made.
    const untestable = checks.filter(({ details }) => details?.untestable === true);
    assert.deepEqual(failures(checks.filter((check) => !untestable.includes(check))), []);
    for (const { errorMessage } of untestable) assert.match(errorMessage ?? '', /does not list the diagnostic tool/u);
  });

  test(`the conformance suite, ${revision}: the server factory with the suite's fixtures fails nothing`, async () => {
    await using server = await serveFixtures();
    const checks = await runConformance(server.url, revision);
    assert.ok(checks.filter(({ status }) => status === 'SUCCESS').length > 75, 'the suite ran');
    // Tasks are an extension, which no revision requires and the product does not declare.
    assert.deepEqual(failures(checks.filter(({ scenario }) => !scenario.startsWith('tasks-'))), []);
  });
}

async function startProduct(dataDir: string): Promise<AsyncDisposable & { readonly url: string }> {
  const args = [join(ROOT, 'bin/contree-mcp'), '--mode', 'http', '--http-port', '0', '--data-dir', dataDir];
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
