import { spawnSync } from 'node:child_process';

/** Every gate that needs no VM and no network, in the order in which a failure is cheapest to mend. */
const STEPS: readonly (readonly [string, readonly string[]])[] = [
  ['oxfmt', ['--check', 'src', 'test', 'scripts', 'bench']],
  ['oxlint', ['src', 'test', 'scripts', 'bench']],
  ['tsc', ['-p', '.']],
  ['knip', []],
  ['node', ['scripts/docs.ts', '--check']],
  ['node', ['--test', 'test/tidy.test.ts']],
];

let failed = 0;
for (const [program, args] of STEPS) {
  const startedMs = performance.now();
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' });
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
  console.log(`${status === 0 ? 'ok    ' : 'FAILED'} ${program} ${args[0] ?? ''} (${seconds} s)`);
  if (status !== 0) {
    failed += 1;
    console.log(`${stdout}${stderr}`);
  }
}
process.exitCode = failed === 0 ? 0 : 1;
