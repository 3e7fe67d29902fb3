/*
 * Loaded into an engine by `--import`: once the file that CONTREE_TEST_KILL names exists, the engine kills itself
 * before the step whose number the file contains. Steps are effects outside the process: files, rows, processes.
 */
import childProcess from 'node:child_process';
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { DatabaseSync } from 'node:sqlite';

const order = process.env['CONTREE_TEST_KILL'];
let count = 0;

function step(name: string): void {
  if (order === undefined || !fs.existsSync(order)) return;
  count += 1;
  fs.appendFileSync(`${order}.steps`, `${name}\n`);
  if (count !== Number(fs.readFileSync(order, 'utf8'))) return;
  // The next engine must survive.
  fs.rmSync(order);
  process.kill(process.pid, 'SIGKILL');
}

function wrap(owner: object, name: string, counts: (args: readonly unknown[]) => boolean = () => true): void {
  const original = Reflect.get(owner, name) as (...args: unknown[]) => unknown;
  Reflect.set(owner, name, function wrapped(this: unknown, ...args: unknown[]): unknown {
    if (counts(args)) step(name === 'exec' ? 'commit' : name);
    return original.apply(this, args);
  });
}

if (order !== undefined && process.argv.includes('engine')) {
  for (const name of ['rename', 'rm', 'chmod', 'mkdir']) wrap(fs.promises, name);
  wrap(fs, 'renameSync');
  wrap(childProcess, 'spawn');
  wrap(DatabaseSync.prototype, 'exec', ([sql]) => sql === 'COMMIT');
  const probe = await fs.promises.open('/dev/null');
  wrap(Object.getPrototypeOf(probe) as object, 'sync');
  await probe.close();
  syncBuiltinESMExports();
}
