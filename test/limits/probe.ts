import { readFileSync } from 'node:fs';
import { Agent, get } from 'node:http';
import { setTimeout } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { defined } from '../../src/std/assert.ts';

/*
 * A thread that asks an engine for its health again and again and watches its memory, so that what the test itself does
 * meanwhile does not count. It also says how late it was woken itself, which is what the machine, not the engine, costs.
 */

const INTERVAL_MS = 20;

export interface Watched {
  readonly longestMs: number;
  readonly lateMs: number;
  readonly residentBytes: number;
}

const { address, pid } = workerData as { address: string; pid: number };
const port = defined(parentPort, 'it is started as a thread');
const agent = new Agent({ keepAlive: true });
const stopped = new AbortController();
port.once('message', () => stopped.abort());

async function healthMs(): Promise<number> {
  const startedMs = performance.now();
  await new Promise<void>((resolve, reject) => {
    get(`${address}/healthz`, { agent }, (response) => response.resume().once('end', resolve)).once('error', reject);
  });
  return performance.now() - startedMs;
}

function residentBytes(): number {
  const [, kib = '0'] = /^VmRSS:\s+(\d+) kB$/mu.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kib) * 1024;
}

const watched = { longestMs: 0, lateMs: 0, residentBytes: 0 };
await healthMs();
port.postMessage('watching');
while (!stopped.signal.aborted) {
  watched.longestMs = Math.max(watched.longestMs, await healthMs());
  watched.residentBytes = Math.max(watched.residentBytes, residentBytes());
  const startedMs = performance.now();
  await setTimeout(INTERVAL_MS);
  watched.lateMs = Math.max(watched.lateMs, performance.now() - startedMs - INTERVAL_MS);
}
agent.destroy();
port.postMessage(watched satisfies Watched);
