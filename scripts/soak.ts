import { spawn, type ChildProcess } from 'node:child_process';
import { rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { bootSpec, microvmFolder, type MicrovmFolder, runScript } from '../test/support/microvm.ts';

/**
 * `node scripts/soak.ts [--boots 100] [--restores 200] [--load 2]`: boots templates and restores runs repeatedly while
 * other processes use up the cores. Emulated kernels may hang during boot; the watchdog has to notice every time.
 */
export interface SoakOptions {
  readonly boots: number;
  readonly restores: number;
  /** Number of busy processes. */
  readonly load: number;
  readonly log: (line: string) => void;
}

export interface SoakResult {
  /** Templates that could not be made: the watchdog failed. */
  readonly bootsFailed: number;
  /** Boots that hung and were retried. */
  readonly retries: number;
  readonly bootMs: readonly number[];
  readonly restoresFailed: number;
  readonly restoreMs: readonly number[];
}

const BOOT_MS_MAX = 180_000;
const RESTORE_MS_MAX = 60_000;

export async function soak(options: SoakOptions): Promise<SoakResult> {
  await using folder = await microvmFolder();
  using _load = busyProcesses(options.load);
  const boots = await bootAll(folder, options);
  const restores = await restoreAll(folder, options);
  return { ...boots, ...restores };
}

async function bootAll(
  folder: MicrovmFolder,
  { boots, log }: SoakOptions,
): Promise<Pick<SoakResult, 'bootsFailed' | 'retries' | 'bootMs'>> {
  const bootMs: number[] = [];
  let [bootsFailed, retries] = [0, 0];
  for (let index = 1; index <= boots; index += 1) {
    await rm(join(folder.stateDir, 'templates'), { recursive: true, force: true });
    await using bench = await folder.open();
    const startedMs = performance.now();
    const failure = await bench.driver.warm().catch((error: unknown) => error as Error);
    bootMs.push(performance.now() - startedMs);
    const tried = bench.logged.filter((line) => line.startsWith('boot '));
    retries += tried.length;
    if (failure !== undefined || (bootMs.at(-1) ?? 0) > BOOT_MS_MAX) bootsFailed += 1;
    log(`boot ${index}: ${Math.round(bootMs.at(-1) ?? 0)} ms${failure === undefined ? '' : `, ${failure.message}`}`);
    for (const line of tried) log(`  ${line}`);
  }
  return { bootsFailed, retries, bootMs };
}

async function restoreAll(
  folder: MicrovmFolder,
  { restores, log }: SoakOptions,
): Promise<Pick<SoakResult, 'restoresFailed' | 'restoreMs'>> {
  const restoreMs: number[] = [];
  let restoresFailed = 0;
  await using bench = await folder.open();
  await bench.driver.warm();
  for (let index = 1; index <= restores; index += 1) {
    const startedMs = performance.now();
    try {
      const spec = bootSpec(bench.layers, { network: { mode: 'public' } });
      await using instance = await bench.driver.start(spec, AbortSignal.timeout(RESTORE_MS_MAX));
      const { outcome } = await runScript(instance, 'true');
      if (outcome.exitCode !== 0) throw new Error(`true ended with ${outcome.exitCode}`);
    } catch (error) {
      restoresFailed += 1;
      log(`restore ${index} failed: ${String(error)}`);
    }
    restoreMs.push(performance.now() - startedMs);
  }
  for (const line of bench.logged.filter((text) => text.includes('anew'))) log(line);
  return { restoresFailed, restoreMs };
}

function busyProcesses(count: number): Disposable {
  const children: ChildProcess[] = Array.from({ length: count }, () =>
    spawn(process.execPath, ['-e', 'const parent = process.ppid; for (;;) if (process.ppid !== parent) break;'], {
      stdio: 'ignore',
    }),
  );
  return {
    [Symbol.dispose]: () => {
      for (const child of children) child.kill('SIGKILL');
    },
  };
}

function quantile(values: readonly number[], share: number): string {
  const sorted = values.toSorted((a, b) => a - b);
  return `${Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0)} ms`;
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      boots: { type: 'string', default: '100' },
      restores: { type: 'string', default: '200' },
      load: { type: 'string', default: String(availableParallelism()) },
    },
  });
  const [boots, restores, load] = [Number(values.boots), Number(values.restores), Number(values.load)];
  const result = await soak({ boots, restores, load, log: (line) => console.log(line) });
  const { bootMs, restoreMs } = result;
  console.log(
    `${boots} boots: ${result.bootsFailed} failed, ${result.retries} tried again; median ${quantile(bootMs, 0.5)}, longest ${quantile(bootMs, 1)}`,
  );
  console.log(
    `${restores} restores: ${result.restoresFailed} failed; median ${quantile(restoreMs, 0.5)}, longest ${quantile(restoreMs, 1)}`,
  );
  process.exitCode = result.bootsFailed + result.restoresFailed === 0 ? 0 : 1;
}
