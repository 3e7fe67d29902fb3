import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { globSync } from 'node:fs';
import { command } from './support/command.ts';

/**
 * `npm run test:compat`: the contract of the hosted service and its published clients against the engine, our own Python
 * wheel, the hook in the agents that have one, and development servers in an instance. What they need is fetched from PyPI
 * and npm when it runs. Where these cannot be reached, it says so and leaves out what needs them; any later failure is one.
 */
/** Tests that need npm; the others need PyPI. */
const OF_NPM = ['test/compat/agents.test.ts', 'test/compat/dev-server.test.ts'];
const PROBES = {
  PyPI: ['python3', '-m', 'pip', '--disable-pip-version-check', 'index', 'versions', 'contree-client'],
  npm: ['npm', 'view', '@openai/codex', 'version'],
} as const;

async function reachable(source: keyof typeof PROBES): Promise<boolean> {
  const [program, ...args] = PROBES[source];
  try {
    await command(program, args, { timeout: 60_000 });
    return true;
  } catch (error) {
    console.log(
      `test:compat: no packages of ${source} can be fetched here, so what needs them was not tried: ${String(error)}`,
    );
    return false;
  }
}

const asked = process.argv.length > 2 ? process.argv.slice(2) : globSync('test/compat/*.test.ts').toSorted();
const [pypi, npm] = [await reachable('PyPI'), await reachable('npm')];
const files = asked.filter((file) => (OF_NPM.includes(file) ? npm : pypi));
if (files.length > 0) {
  const limits = ['--test-timeout=900000', '--test-concurrency=1'];
  const child = spawn(process.execPath, ['--test', '--test-reporter=spec', ...limits, ...files], { stdio: 'inherit' });
  const [code] = (await once(child, 'exit')) as [number | null];
  process.exitCode = code ?? 1;
}
