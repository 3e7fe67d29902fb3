import { setTimeout as delay } from 'node:timers/promises';
import { limits } from '../src/contract/limits.ts';
import { sampleOf } from './support/measure.ts';
import type { Place } from './support/place.ts';
import type { Report } from './support/report.ts';

const ECHOES = 100;
const PAUSE_MS = 30;
const FLOOD_BYTES = 1024 ** 3;
const PEAK_MS = 100;

/**
 * Measures the time from writing to a running `cat` until the event with its echo arrives. It contains the path from
 * the guest's write to the client's event plus the path in, because the clocks of host and guest need not agree.
 */
async function echo(place: Place, report: Report): Promise<void> {
  const { contree } = place;
  const { uuid } = await contree.runs.start({
    image: place.image,
    command: 'cat',
    disposable: true,
    stdin: { value: '', encoding: 'ascii', close: false },
  });
  const timesMs: number[] = [];
  let sentMs = 0;
  const send = async (): Promise<void> => {
    await delay(PAUSE_MS);
    sentMs = performance.now();
    await contree.processes.write(uuid, 1, { value: 'x\n', encoding: 'ascii', close: timesMs.length === ECHOES });
  };
  for await (const { type } of contree.operations.events(uuid, { follow: true })) {
    if (type === 'stdout') timesMs.push(performance.now() - sentMs);
    if (type === 'spawn' || type === 'stdout') void send().catch(() => undefined);
  }
  const times = sampleOf(timesMs.slice(0, ECHOES));
  report.add({
    what: 'follow: from the guest’s write to the client’s event, p50',
    value: times.medianMs,
    unit: 'ms',
    budget: { atMost: 20 },
    note: `round trip: the way of the stdin that asked for it is in it; p99 ${times.p99Ms.toFixed(1)}, max ${times.maxMs.toFixed(1)}`,
  });
}

/** Returns the peak memory of the engine during `work`. */
async function peakMib(place: Place, work: () => Promise<unknown>): Promise<number> {
  let peak = 0;
  const over = new AbortController();
  const watching = (async () => {
    while (!over.signal.aborted) {
      peak = Math.max(peak, (await place.engine()).memoryMib);
      await delay(PEAK_MS, undefined, { signal: over.signal }).catch(() => undefined);
    }
  })();
  await work();
  over.abort();
  await watching;
  return peak;
}

/** Runs a program that writes this many bytes; returns the engine's peak memory and the duration. */
async function floodOf(place: Place, bytes: number): Promise<{ readonly peak: number; readonly seconds: number }> {
  let seconds = 0;
  const peak = await peakMib(place, async () => {
    const { metadata, duration } = await place.run({
      command: 'head',
      args: ['-c', String(bytes), '/dev/zero'],
      disposable: true,
      timeout: 600,
    });
    seconds = duration;
    if (!('result' in metadata) || metadata.result?.state?.exit_code !== 0)
      throw new Error('the flood did not end well');
  });
  return { peak, seconds };
}

async function flood(place: Place, report: Report): Promise<void> {
  const small = await floodOf(place, FLOOD_BYTES / 16);
  const large = await floodOf(place, FLOOD_BYTES);
  report.add({
    what: '1 GiB of stdout through a run: the engine’s peak above that with 64 MiB',
    value: large.peak - small.peak,
    unit: 'MiB',
    budget: { atMost: 32 },
    note: `peak ${large.peak.toFixed(0)} MiB; ${(FLOOD_BYTES / 1e6 / large.seconds).toFixed(0)} MB/s; ${limits.outputBytesKept / 1024 ** 2} MiB of it are kept`,
  });
}

/** Measures what a client sees during a run. */
export async function benchLive(place: Place, report: Report): Promise<void> {
  report.section('Live');
  await echo(place, report);
  await flood(place, report);
}
