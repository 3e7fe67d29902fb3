import { spawn, type ChildProcessByStdio } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import { once } from 'node:events';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { engineFiles } from '../src/config/index.ts';
import type { FollowResult } from './load/followers.ts';
import type { LoadResult } from './load/inspect.ts';
import { sampleOf } from './support/measure.ts';
import type { Place } from './support/place.ts';
import type { Report } from './support/report.ts';

const FOLLOWERS = 200;
const STUCK_READERS = 50;
/** Time after which their buffers are full. */
const STUCK_SECONDS = 5;
const PER_SECOND = 500;
const SECONDS = 30;
const LONG_SECONDS = 600;
/** Ticks of the followed VM: each is an event for every follower. */
const TICK_SECONDS = 0.2;

/** A load generator, in a separate process so that its own cost does not count as the engine's. */
function generator(name: string, order: object): ChildProcessByStdio<Writable, Readable, null> {
  const program = join(import.meta.dirname, 'load', `${name}.ts`);
  return spawn(process.execPath, [program, JSON.stringify(order)], { stdio: ['pipe', 'pipe', 'inherit'] });
}

/** Followers, all connected; `end` returns their measurements. */
async function follow(order: object): Promise<{ end(): Promise<FollowResult> }> {
  const child = generator('followers', order);
  await once(child.stdout, 'data');
  return {
    end: async () => {
      const answer = text(child.stdout);
      child.stdin.write('end');
      return JSON.parse(await answer) as FollowResult;
    },
  };
}

/** Samples the engine's resident memory once a second until aborted. */
async function watchMemory(place: Place, signal: AbortSignal): Promise<number[]> {
  const samples: number[] = [];
  while (!signal.aborted) {
    samples.push((await place.engine()).memoryMib);
    await delay(1_000, undefined, { signal }).catch(() => undefined);
  }
  return samples;
}

interface Measured {
  readonly load: LoadResult;
  readonly follow: FollowResult;
  readonly memoryMib: readonly number[];
}

/** Sends inspect calls at the given rate while followers read, for the given time. */
async function measure(place: Place, operation: string, seconds: number): Promise<Measured> {
  const { socket } = engineFiles(place.home.dataDir, process.env);
  const inspect = `/inspect/${place.image}`;
  const paths = [
    `${inspect}/`,
    `${inspect}/list?path=/etc`,
    `${inspect}/list?path=/usr/share`,
    `${inspect}/download?path=/etc/passwd`,
    `${inspect}/stat?path=/usr/bin/env`,
  ];
  const followers = await follow({ socket, operation, followers: FOLLOWERS, reading: true });
  const over = new AbortController();
  const memory = watchMemory(place, over.signal);
  const load = generator('inspect', { socket, paths, perSecond: PER_SECOND, seconds });
  const result = JSON.parse(await text(load.stdout)) as LoadResult;
  over.abort();
  return { load: result, follow: await followers.end(), memoryMib: await memory };
}

function addRows(report: Report, { load, follow: seen }: Measured, when: string): void {
  const times = sampleOf(load.timesMs);
  report.add({
    what: `${PER_SECOND} inspect calls a second ${when}: p99`,
    value: times.p99Ms,
    unit: 'ms',
    budget: { atMost: 50 },
    note: `${times.count} calls, p50 ${times.medianMs.toFixed(1)}, max ${times.maxMs.toFixed(0)} ms; 2 VMs run, ${FOLLOWERS} followers`,
  });
  report.add({ what: `calls that failed ${when}`, value: load.failures, unit: '', budget: { atMost: 0 } });
  const lags = sampleOf(seen.lagsMs);
  report.add({
    what: `${FOLLOWERS} followers ${when}: from the event to the follower, p99`,
    value: lags.p99Ms,
    unit: 'ms',
    note: `${lags.count} events, p50 ${lags.medianMs.toFixed(0)}, max ${lags.maxMs.toFixed(0)} ms`,
  });
  report.add({ what: `followers that were cut off ${when}`, value: seen.lost, unit: '', budget: { atMost: 0 } });
}

function median(values: readonly number[]): number {
  return sampleOf(values).medianMs;
}

/** Runs two VMs until `work` has ended: one ticks, one computes. `work` gets the one that ticks. */
async function besideRuns(place: Place, seconds: number, work: (ticking: string) => Promise<void>): Promise<void> {
  const { contree, image } = place;
  const start = async (script: string): Promise<string> => {
    const timeout = Math.min(3_600, 4 * seconds + 120);
    const { uuid } = await contree.runs.start({ image, command: script, shell: true, disposable: true, timeout });
    for await (const { type } of contree.operations.events(uuid, { follow: true })) if (type === 'spawn') break;
    return uuid;
  };
  const ticking = await start(`while :; do echo tick; sleep ${TICK_SECONDS}; done`);
  const computing = await start('while :; do for i in 1 2 3 4 5 6 7 8 9; do :; done; sleep 0.01; done');
  try {
    await work(ticking);
  } finally {
    for (const uuid of [ticking, computing]) await contree.operations.cancel(uuid);
  }
}

/** Makes an operation whose log has as much output as is kept. */
async function fullLog(place: Place): Promise<string> {
  const { uuid } = await place.run({ command: 'head', args: ['-c', '8000000', '/dev/zero'], disposable: true });
  return uuid;
}

/** Measures what clients experience while others follow, and while some do not read their answers. */
export async function benchLoad(place: Place, report: Report): Promise<void> {
  report.section('Load');
  await besideRuns(place, SECONDS, async (ticking) => {
    addRows(report, await measure(place, ticking, SECONDS), '');
    const { socket } = engineFiles(place.home.dataDir, process.env);
    const operation = await fullLog(place);
    const before = (await place.engine()).memoryMib;
    const stuck = await follow({ socket, operation, followers: STUCK_READERS, reading: false });
    await delay(STUCK_SECONDS * 1_000);
    const stuckMib = (await place.engine()).memoryMib;
    const measured = await measure(place, ticking, SECONDS);
    addRows(report, measured, `beside ${STUCK_READERS} readers that do not read`);
    report.add({
      what: `${STUCK_READERS} readers that do not read 8 MB each: memory of the engine above before`,
      value: stuckMib - before,
      unit: 'MiB',
      budget: { atMost: 64 },
      note: `${stuckMib.toFixed(0)} MiB; beside them, while the others follow from the start and ask, at most ${Math.max(...measured.memoryMib).toFixed(0)}`,
    });
    await stuck.end();
  });
}

/** Measures the same for ten minutes. */
export async function benchLongLoad(place: Place, report: Report): Promise<void> {
  report.section('Load, ten minutes');
  await besideRuns(place, LONG_SECONDS, async (ticking) => {
    const measured = await measure(place, ticking, LONG_SECONDS);
    addRows(report, measured, 'for ten minutes');
    const { memoryMib } = measured;
    const tenth = Math.floor(memoryMib.length / 10);
    const [early, late] = [memoryMib.slice(tenth, 2 * tenth), memoryMib.slice(-tenth)];
    report.add({
      what: 'engine memory, last minute above the second',
      value: median(late) - median(early),
      unit: 'MiB',
      budget: { atMost: 16 },
      note: `${median(early).toFixed(0)} → ${median(late).toFixed(0)} MiB, at most ${Math.max(...memoryMib).toFixed(0)}`,
    });
  });
}
