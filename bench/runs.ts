import { readdir, stat } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import type { OperationResponse } from '../src/contract/operation.ts';
import { defined } from '../src/std/assert.ts';
import { openBareRestore } from './peers/bare-restore.ts';
import { sample, sampleOf, samplePair, timeMs } from './support/measure.ts';
import type { Place } from './support/place.ts';
import type { Report } from './support/report.ts';

const RUNS = 15;
const BRANCHES = 20;

/** Returns the medians of all steps in milliseconds, as `restore 48 · mount 90 · …`. */
function shares(operations: readonly OperationResponse[]): string {
  const names = Object.keys(operations[0]?.execution?.steps_ms ?? {});
  const medians = names.map(
    (name) => [name, sampleOf(operations.map(({ execution }) => execution?.steps_ms[name] ?? 0)).medianMs] as const,
  );
  return medians.map(([name, ms]) => `${name} ${ms.toFixed(0)}`).join(' · ');
}

/** Returns the Debian root filesystem's layer in a store. */
export async function largestLayer(dataDir: string): Promise<string> {
  const folder = join(dataDir, 'layers');
  const sizes = (await readdir(folder)).map(async (name) => ({ name, size: (await stat(join(folder, name))).size }));
  const [largest] = (await Promise.all(sizes)).sort((left, right) => right.size - left.size);
  return join(folder, defined(largest, 'an image was imported').name);
}

async function disposable(place: Place, report: Report): Promise<void> {
  const operations: OperationResponse[] = [];
  const warm = await sample(RUNS, async () =>
    operations.push(await place.run({ command: '/bin/true', disposable: true })),
  );
  report.add({
    what: `disposable run of /bin/true, engine warm (${place.accelerator}), p50`,
    value: warm.medianMs,
    unit: 'ms',
    budget: { atMost: place.accelerator === 'kvm' ? 150 : 450 },
    note: `${shares(operations)} (ms, medians); min ${warm.minMs.toFixed(0)}, max ${warm.maxMs.toFixed(0)}`,
  });
  await using bare = await openBareRestore();
  const layer = await largestLayer(place.home.dataDir);
  const pair = await samplePair(
    RUNS,
    () => place.run({ command: '/bin/true', disposable: true }),
    () => bare.run(layer),
  );
  report.add({
    what: 'the same beside a bare restore-exec-quit script, ratio',
    value: pair.ratio,
    unit: '×',
    budget: { atMost: 1.25 },
    peer: `bare script ${pair.peer.medianMs.toFixed(0)} ms (no jail, network, queue, store); ours ${pair.ours.medianMs.toFixed(0)} ms`,
  });
  const cli = await sample(RUNS, () => place.home.run(['run', place.image, '--', 'true']));
  report.add({
    what: `bin/contree run IMAGE -- true (${place.accelerator}), p50`,
    value: cli.medianMs,
    unit: 'ms',
    note: `the command line itself adds ${(cli.medianMs - warm.medianMs).toFixed(0)} ms`,
  });
}

async function saving(place: Place, report: Report): Promise<void> {
  const write = { command: 'echo changed > /root/file', shell: true };
  const pair = await samplePair(
    RUNS,
    () => place.run({ ...write, disposable: false }),
    () => place.run({ ...write, disposable: true }),
  );
  report.add({
    what: 'saving a child image after a 1-file change, added to the run',
    value: pair.ours.medianMs - pair.peer.medianMs,
    unit: 'ms',
    budget: { atMost: 60 },
    peer: `the same run, disposable: ${pair.peer.medianMs.toFixed(0)} ms`,
  });
  const saved = await saveMany(place);
  const commitMs = saved.execution?.steps_ms['commit'] ?? Number.NaN;
  report.add({
    what: `saving 200 MB of changes in 5,000 files (${place.accelerator})`,
    value: 200 / (commitMs / 1000),
    unit: 'MB/s',
    budget: { atLeast: 60 },
    note: `commit took ${commitMs.toFixed(0)} ms`,
  });
}

/** Measures saving 200 MB in 5,000 files. */
export async function saveMany(place: Place): Promise<OperationResponse> {
  const script =
    'import os\nd=os.urandom(40000)\nos.makedirs("/root/many")\nfor i in range(5000): open(f"/root/many/{i}","wb").write(d)';
  return place.run({ command: 'python3', args: ['-c', script], disposable: false, timeout: 300 });
}

/** Measures 20 runs at once that each save a file. */
export async function branches(place: Place, report: Report, sandbox: 'microvm' | 'gvisor'): Promise<void> {
  const branch = (index: number): Promise<OperationResponse> =>
    place.run({ command: `echo ${index} > /root/branch`, shell: true, disposable: false, sandbox });
  const one = await sample(5, () => branch(0));
  const allMs = await timeMs(() => Promise.all(Array.from({ length: BRANCHES }, (_, index) => branch(index))));
  const ideal = (BRANCHES * one.medianMs) / availableParallelism();
  report.add({
    what: `${BRANCHES} branches from one image at once (${sandbox}), over (${BRANCHES} × one run) / cores`,
    value: allMs / ideal,
    unit: '×',
    budget: { atMost: 1.3 },
    peer: `one run ${one.medianMs.toFixed(0)} ms; all of them ${allMs.toFixed(0)} ms on ${availableParallelism()} cores`,
  });
}

/** Measures runs, saving and branching. */
export async function benchRuns(place: Place, report: Report): Promise<void> {
  report.section('Runs');
  await disposable(place, report);
  await saving(place, report);
  await branches(place, report, 'microvm');
}
