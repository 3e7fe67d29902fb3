import { mkdtempDisposable, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { OperationResponse } from '../src/contract/operation.ts';
import { MountableLayers } from '../src/sandbox/gvisor/layers.ts';
import { gvisorFolder, hasRunsc } from '../test/support/gvisor.ts';
import { bootSpec, microvmFolder, runScript } from '../test/support/microvm.ts';
import { tracesOf } from '../test/support/sandboxes/traces.ts';
import { openBareRunsc } from './peers/bare-runsc.ts';
import { missingForPodman, unpack } from './peers/unpacked.ts';
import { branches, largestLayer } from './runs.ts';
import { memoryOfJails } from './support/jail-memory.ts';
import { sample, samplePair, type Sample, sampleOf, timeMs } from './support/measure.ts';
import { installPackages } from './npm-ci.ts';
import { type Place, succeeded } from './support/place.ts';
import type { Report } from './support/report.ts';
import { WORKLOAD, workloadImage } from './support/workload.ts';

const STARTS = 15;
const REPEATS = 3;
const FILES = 5_000;
const FLOOD_BYTES = 1024 ** 3;
const ROW_RUNS = 1_000;
const WORKLOAD_RESOURCES = { cpus: 2, memory_mib: 2_048 };
const soon = (): AbortSignal => AbortSignal.timeout(120_000);

type Sandbox = 'gvisor' | 'microvm';

/** Runs `true`, beside `runsc run` of a bundle with the same layer, mounts and network. */
async function start(place: Place, report: Report): Promise<void> {
  await using folder = await mkdtempDisposable(join(tmpdir(), 'contree-mountable-'));
  const path = await largestLayer(place.home.dataDir);
  const layers = await MountableLayers.open(folder.path);
  const layer = await layers.mountable({ path, bytes: (await stat(path)).size }, soon());
  await using bare = await openBareRunsc(layer.path, 'same');
  await using smallest = await openBareRunsc(layer.path, 'smallest');
  const operations: OperationResponse[] = [];
  const pair = await samplePair(
    STARTS,
    async () =>
      operations.push(succeeded(await place.run({ command: '/bin/true', disposable: true, sandbox: 'gvisor' }))),
    () => bare.run(),
    () => bare.prepare(),
  );
  const least = await sample(STARTS, () => smallest.run());
  const steps = operations.map(({ execution }) => execution?.steps_ms ?? {});
  const shares = Object.keys(steps[0] ?? {}).map(
    (name) => `${name} ${sampleOf(steps.map((all) => all[name] ?? 0)).medianMs.toFixed(0)}`,
  );
  report.add({
    what: 'disposable run of /bin/true, engine warm (gvisor), p50',
    value: pair.ours.medianMs,
    unit: 'ms',
    budget: { atMost: 200 },
    note: `${shares.join(' · ')} (ms, medians); min ${pair.ours.minMs.toFixed(0)}, max ${pair.ours.maxMs.toFixed(0)}`,
  });
  report.add({
    what: 'the same beside a bare `runsc run` of the same bundle, ratio',
    value: pair.ratio,
    unit: '×',
    budget: { atMost: 1.5 },
    peer: `bare runsc ${pair.peer.medianMs.toFixed(0)} ms (no jail, limits, packet filter, agent, queue, store)`,
    note: `with a read-only root, no network and no mounts but /proc it takes ${least.medianMs.toFixed(0)} ms`,
  });
}

/** Imports the image of the workload. Returns its UUID. */
async function importWorkload(place: Place, layout: string): Promise<string> {
  const reference = await place.registry.push(layout, 'debian', 'library/workload:12');
  return (await place.home.json<{ result_image_uuid: string }>(['import', reference])).result_image_uuid;
}

/** Runs the script of the design natively, in gVisor, with podman and Debian's runsc, and in a microVM. */
async function workload(place: Place, report: Report): Promise<void> {
  const { tar, layout } = await workloadImage();
  const image = await importWorkload(place, layout);
  const ours = (sandbox: Sandbox) => async (): Promise<unknown> =>
    succeeded(
      await place.run({
        image,
        command: WORKLOAD,
        shell: true,
        disposable: true,
        sandbox,
        timeout: 1_800,
        resources_limits: WORKLOAD_RESOURCES,
      }),
    );
  await using peer = await unpack(tar);
  const pair = await samplePair(REPEATS, ours('gvisor'), () => peer.native(WORKLOAD));
  const seconds = (ms: number): string => (ms / 1_000).toFixed(1);
  report.add({
    what: 'script: venv, wheels, import, gcc, loop, git, 300 processes (gvisor)',
    value: pair.ours.medianMs / 1_000,
    unit: 's',
  });
  report.add({
    what: 'the same over native (bubblewrap), ratio',
    value: pair.ratio,
    unit: '×',
    budget: { atMost: 3 },
    peer: `bubblewrap ${seconds(pair.peer.medianMs)} s`,
  });
  await besidePodman(report, pair.ours, () => peer.podman(WORKLOAD));
  const microvm = await timeMs(ours('microvm'));
  report.add({
    what: `the same over a microVM (${place.accelerator}), ratio`,
    value: pair.ours.medianMs / microvm,
    unit: '×',
    budget: { atMost: 1 },
    peer: `microVM ${seconds(microvm)} s, measured once`,
  });
  await installPackages(place, report, { image, native: peer });
}

async function besidePodman(report: Report, ours: Sample, run: () => Promise<void>): Promise<void> {
  const what = "the same over podman with Debian's runsc, ratio";
  const missing = await missingForPodman();
  if (missing !== undefined) {
    report.absent(what, missing);
    return;
  }
  try {
    const podman = await sample(REPEATS, run, 0);
    const peer = `podman and runsc ${(podman.medianMs / 1_000).toFixed(1)} s`;
    report.add({ what, value: ours.medianMs / podman.medianMs, unit: '×', budget: { atMost: 1 }, peer });
  } catch (error) {
    report.absent(what, `it does not run here: ${String(error).trimEnd().split('\n').at(-1)}`);
  }
}

/** Writes many small files and saves them. */
async function manyFiles(place: Place, report: Report): Promise<void> {
  const script = `import os\nos.makedirs("/root/many")\nfor i in range(${FILES}): open(f"/root/many/{i}","w").write("x"*1000)`;
  const commits: Record<Sandbox, number[]> = { gvisor: [], microvm: [] };
  const save = (sandbox: Sandbox) => async (): Promise<void> => {
    const run = { command: 'python3', args: ['-c', script], disposable: false, timeout: 300, sandbox };
    commits[sandbox].push(succeeded(await place.run(run)).execution?.steps_ms['commit'] ?? Number.NaN);
  };
  const pair = await samplePair(REPEATS, save('gvisor'), save('microvm'));
  report.add({
    what: `${FILES} files of 1 KB written and saved as an image (gvisor)`,
    value: pair.ours.medianMs,
    unit: 'ms',
    peer: `microVM (${place.accelerator}) ${pair.peer.medianMs.toFixed(0)} ms, commit ${sampleOf(commits.microvm).medianMs.toFixed(0)} ms`,
    note: `commit ${sampleOf(commits.gvisor).medianMs.toFixed(0)} ms`,
  });
}

/** Sends 1 GiB of standard output to the event log. */
async function flood(place: Place, report: Report): Promise<void> {
  const args = ['-c', String(FLOOD_BYTES), '/dev/zero'];
  const write = (sandbox: Sandbox) => async (): Promise<unknown> =>
    succeeded(await place.run({ command: 'head', args, disposable: true, timeout: 600, sandbox }));
  const pair = await samplePair(REPEATS, write('gvisor'), write('microvm'));
  const rate = (ms: number): number => FLOOD_BYTES / 1e6 / (ms / 1_000);
  report.add({
    what: '1 GiB of stdout through a run (gvisor)',
    value: rate(pair.ours.medianMs),
    unit: 'MB/s',
    peer: `microVM (${place.accelerator}) ${rate(pair.peer.medianMs).toFixed(0)} MB/s`,
  });
}

/** Measures the memory of the host that a sandbox takes which runs nothing. */
async function idle(place: Place, report: Report): Promise<void> {
  const memory = async (opened: Awaited<ReturnType<typeof gvisorFolder | typeof microvmFolder>>): Promise<number> => {
    await using folder = opened;
    await using bench = await folder.open();
    await using instance = await bench.driver.start(bootSpec(bench.layers, { network: { mode: 'public' } }), soon());
    await runScript(instance, 'true');
    return await memoryOfJails(folder.stateDir);
  };
  report.add({
    what: 'memory of an idle sandbox after one command (gvisor)',
    value: await memory(await gvisorFolder()),
    unit: 'MiB',
    peer: `microVM (${place.accelerator}) ${(await memory(await microvmFolder())).toFixed(0)} MiB`,
    note: 'proportional set size of all its processes',
  });
}

/** Starts and ends sandboxes one after the other, and counts what they leave. */
async function inARow(report: Report): Promise<void> {
  await using folder = await gvisorFolder();
  await using bench = await folder.open();
  const once = async (): Promise<void> => {
    await using instance = await bench.driver.start(bootSpec(bench.layers, { network: { mode: 'public' } }), soon());
    await runScript(instance, 'echo x > /file');
  };
  await once();
  const before = await tracesOf(folder.stateDir);
  const times = await sample(ROW_RUNS, once, 0);
  const after = await tracesOf(folder.stateDir);
  const kinds = Object.keys(before) as (keyof typeof before)[];
  const grown = kinds.map((kind) => `${kind} ${after[kind].length - before[kind].length}`);
  report.add({
    what: `${ROW_RUNS} runs one after the other leave (gvisor)`,
    value: kinds.reduce((sum, kind) => sum + Math.max(0, after[kind].length - before[kind].length), 0),
    unit: '',
    budget: { atMost: 0 },
    note: `${grown.join(' · ')}; ${times.medianMs.toFixed(0)} ms each, p99 ${times.p99Ms.toFixed(0)} ms`,
  });
}

/** Measures gVisor sandboxes beside bare runsc, native programs, podman with runsc, and microVMs. */
export async function benchGvisor(place: Place, report: Report): Promise<void> {
  report.section('gVisor');
  if (!(await hasRunsc())) {
    report.absent('all figures', 'this machine has no runsc: run scripts/setup');
    return;
  }
  await start(place, report);
  await branches(place, report, 'gvisor');
  await manyFiles(place, report);
  await flood(place, report);
  await idle(place, report);
  await inARow(report);
  await workload(place, report);
}
