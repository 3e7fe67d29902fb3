import { spawn } from 'node:child_process';
import { once } from 'node:events';

type Step = readonly [program: string, ...args: string[]];

/** Checks that need no VM and no network, longest first; two run at a time. */
const STEPS: readonly Step[] = [
  ['oxlint', 'src', 'test', 'scripts', 'bench', 'console', 'docs/examples'],
  ['tsc', '-p', '.'],
  ['tsc', '-p', 'console'],
  ['knip'],
  ['oxfmt', '--check', 'src', 'test', 'scripts', 'bench', 'console', 'docs/examples'],
  ['node', 'scripts/docs.ts', '--check'],
  ['node', '--test', 'test/tidy.test.ts', 'test/tidy-text.test.ts', 'test/console/tidy.test.ts'],
];

async function check([program, ...args]: Step): Promise<boolean> {
  const startedMs = performance.now();
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => (said += text));
  const [code] = (await once(child, 'close')) as [number | null];
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
  console.log(`${code === 0 ? 'ok    ' : 'FAILED'} ${program} ${args[0] ?? ''} (${seconds} s)`);
  if (code !== 0) console.log(said);
  return code === 0;
}

const pending = STEPS.values();
const results: boolean[] = [];
async function worker(): Promise<void> {
  for (const step of pending) results.push(await check(step));
}
await Promise.all([worker(), worker()]);
process.exitCode = results.every(Boolean) ? 0 : 1;
