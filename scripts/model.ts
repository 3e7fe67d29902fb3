import { spawn } from 'node:child_process';
import { once } from 'node:events';

/**
 * `npm run test:model`: the model of what a run saves (`test/conformance/saved-model.ts`) with many random cases, in both
 * sandboxes. The argument is the number of cases for each seed of `npm test` (default: 50); a second one is the first seed
 * (default: one that differs from day to day). A case that failed is run again alone by its seed: `npm run test:model -- 1 SEED`.
 */
const [times = '50', seed = String(Math.floor(Date.now() / 86_400_000) * 1_000)] = process.argv.slice(2);
console.log(`model: ${times} times the usual cases, first seed ${seed}`);
const env = { ...process.env, CONTREE_FUZZ_TIMES: times, CONTREE_MODEL_SEED: seed };
const args = ['--test', '--test-concurrency=1', '--test-name-pattern=what root does in a run'];
const files = ['test/vm/gvisor-conformance.test.ts', 'test/vm/guest.test.ts'];
const child = spawn(process.execPath, [...args, ...files], { stdio: 'inherit', env });
const [code] = (await once(child, 'exit')) as [number | null];
process.exitCode = code ?? 1;
