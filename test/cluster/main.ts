import { spawn } from 'node:child_process';
import { globSync } from 'node:fs';
import { chaos } from './chaos/main.ts';
import { buildVersitygw } from './support/versitygw.ts';

/**
 * `npm run test:cluster`: tests of several nodes with a real PostgreSQL and a real object store, which they start in folders of
 * their own. `-- FILE…` selects files, `-- chaos [MINUTES] [SEED]` runs
 * chaos instead. `scripts/setup --cluster` installs PostgreSQL. Go builds
 * the object store, once.
 */
await buildVersitygw();
const [first = '', minutes = '10', seed = String(Date.now() % 1_000_000)] = process.argv.slice(2);
if (first === 'chaos') process.exitCode = (await chaos(Number(minutes), Number(seed))) ? 0 : 1;
else runTests(process.argv.slice(2));

function runTests(chosen: readonly string[]): void {
  const files = chosen.length > 0 ? chosen : globSync('test/cluster/*.test.ts').toSorted();
  const args = ['--test', '--test-reporter=spec', '--test-timeout=900000', '--test-concurrency=1', ...files];
  const child = spawn(process.execPath, args, { stdio: 'inherit' });
  child.on('exit', (code) => {
    process.exitCode = code ?? 1;
  });
}
