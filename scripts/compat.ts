import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { globSync } from 'node:fs';
import { command } from './support/command.ts';

/**
 * `npm run test:compat`: the contract of the hosted service and its published clients against the engine, and our own
 * Python wheel. What they need is fetched from PyPI when it runs. Where PyPI cannot be reached, it says so and tries
 * nothing; any later failure is one.
 */
const REACHABLE = ['-m', 'pip', '--disable-pip-version-check', 'index', 'versions', 'contree-client'];

async function reachable(): Promise<boolean> {
  try {
    await command('python3', REACHABLE, { timeout: 60_000 });
    return true;
  } catch (error) {
    console.log(`test:compat: no packages can be fetched here, so nothing was tried: ${String(error)}`);
    return false;
  }
}

if (await reachable()) {
  const files = process.argv.length > 2 ? process.argv.slice(2) : globSync('test/compat/*.test.ts').toSorted();
  const limits = ['--test-timeout=900000', '--test-concurrency=1'];
  const child = spawn(process.execPath, ['--test', '--test-reporter=spec', ...limits, ...files], { stdio: 'inherit' });
  const [code] = (await once(child, 'exit')) as [number | null];
  process.exitCode = code ?? 1;
}
