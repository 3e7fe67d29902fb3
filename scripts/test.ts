import { spawn } from 'node:child_process';
import { globSync } from 'node:fs';

/**
 * `npm test`: the static checks, the guest's tests, then every test file. Tests that boot microVMs (`test/vm`,
 * `test/e2e`) run one file at a time, because emulated guests use a core each and would disturb each other's timing. So
 * do those that measure how soon the engine answers (`test/limits`). Those of `test/kvm` need a machine of their own
 * (`npm run test:kvm`), those of `test/compat` packages from PyPI (`npm run test:compat`), those of `test/cluster` PostgreSQL
 * (`npm run test:cluster`), that of `test/deploy` Helm (`npm run test:deploy`). Arguments select files:
 * `npm test -- test/erofs/*.test.ts`.
 */
const chosen = process.argv.slice(2);
const alone = globSync(['test/limits/*.test.ts', 'test/vm/**/*.test.ts', 'test/e2e/**/*.test.ts']);
/** Tests that need runsc: the package contains it. */
const late = alone.filter((file) => file.startsWith('test/e2e/') || file.includes('gvisor'));
const unit = globSync('test/**/*.test.ts')
  .filter((file) => !alone.includes(file) && !/^test\/(?:kvm|compat|cluster|deploy)\//u.test(file))
  .toSorted();

function run(program: string, args: readonly string[], cwd = '.'): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: 'inherit', cwd });
    child.on('error', reject);
    child.on('exit', (code) => resolve(code === 0));
  });
}

function nodeTest(files: readonly string[], concurrency: number): Promise<boolean> {
  const limits = ['--test-timeout=900000', `--test-concurrency=${concurrency}`];
  return run(process.execPath, ['--test', '--test-reporter=spec', ...limits, ...files]);
}

/** Builds runsc where nothing else brings it, with the processor time that tests of one file at a time leave. */
function provideRunsc(): Promise<boolean> {
  return run('nice', ['-n', '19', process.execPath, 'scripts/runsc.ts']);
}

const results: boolean[] = [];
if (chosen.length > 0) {
  await provideRunsc();
  results.push(await nodeTest(chosen, 1));
} else {
  results.push(await run(process.execPath, ['scripts/check.ts']));
  for (const crate of ['guest/agent', 'guest/host-helper'])
    results.push(await run('cargo', ['test', '--quiet', '--offline'], crate));
  results.push(await nodeTest(unit, 2));
  const runsc = provideRunsc();
  results.push(
    await nodeTest(
      alone.filter((file) => !late.includes(file)),
      1,
    ),
  );
  await runsc;
  results.push(await nodeTest(late, 1));
}
process.exitCode = results.every(Boolean) ? 0 : 1;
