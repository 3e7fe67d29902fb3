import { readFileSync } from 'node:fs';
import { Agent, get } from 'node:http';
import { setTimeout } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { defined } from '../../src/std/assert.ts';

/*
 * A thread that asks an engine for its health again and again and watches its memory, so that what the test itself does
 * meanwhile does not count. Time for which the engine's thread or this one could run and had no core is what the machine
 * costs, not the engine, and is taken off.
 */

const INTERVAL_MS = 20;

export interface Watched {
  readonly longestMs: number;
  readonly residentBytes: number;
}

const { address, pid } = workerData as { address: string; pid: number };
const port = defined(parentPort, 'it is started as a thread');
const agent = new Agent({ keepAlive: true });
const stopped = new AbortController();
port.once('message', () => stopped.abort());

/** Milliseconds for which a thread has waited for a core (Documentation/scheduler/sched-stats.rst of the kernel). */
function waitedMs(thread: string): number {
  const [, waited = '0'] = readFileSync(`/proc/${thread}/schedstat`, 'utf8').split(' ');
  return Number(waited) / 1e6;
}

function coreless(): number {
  return waitedMs(`${pid}/task/${pid}`) + waitedMs('thread-self');
}

async function healthMs(): Promise<number> {
  const startedMs = performance.now() - coreless();
  await new Promise<void>((resolve, reject) => {
    get(`${address}/healthz`, { agent }, (response) => response.resume().once('end', resolve)).once('error', reject);
  });
  return performance.now() - coreless() - startedMs;
}

function residentBytes(): number {
  const [, kib = '0'] = /^VmRSS:\s+(\d+) kB$/mu.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kib) * 1024;
}

const watched = { longestMs: 0, residentBytes: 0 };
await healthMs();
port.postMessage('watching');
while (!stopped.signal.aborted) {
  watched.longestMs = Math.max(watched.longestMs, await healthMs());
  watched.residentBytes = Math.max(watched.residentBytes, residentBytes());
  await setTimeout(INTERVAL_MS);
}
agent.destroy();
port.postMessage(watched satisfies Watched);
