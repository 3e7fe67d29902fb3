import { spawn } from 'node:child_process';
import { existsSync, globSync } from 'node:fs';
import { buildVersitygw } from './support/versitygw.ts';

/**
 * `npm run test:cluster`: tests of several nodes with a real PostgreSQL and a real object store, which they start in folders of
 * their own. `-- FILE…` selects files. Needs Debian's package postgresql-15, and Go to build the object store once.
 */
if (!existsSync('/usr/lib/postgresql/15/bin/postgres')) {
  process.stderr.write('PostgreSQL 15 is missing. Install it: apt-get install -y postgresql-15\n');
  process.exit(1);
}
await buildVersitygw();
const chosen = process.argv.slice(2);
const files = chosen.length > 0 ? chosen : globSync('test/cluster/*.test.ts').toSorted();
const args = ['--test', '--test-reporter=spec', '--test-timeout=900000', '--test-concurrency=1', ...files];
const child = spawn(process.execPath, args, { stdio: 'inherit' });
child.on('exit', (code) => {
  process.exitCode = code ?? 1;
});
