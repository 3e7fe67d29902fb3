import { readFileSync } from 'node:fs';
import { Agent, get } from 'node:http';
import { setTimeout } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { defined } from '../../src/std/assert.ts';

/*
 * A thread that polls an engine's health and memory, so that the test's own work does not count. The machine's share is
 * subtracted: time in which the engine's thread or this one was runnable without a core, or in which a bare server,
 * asked at the same time, did not answer either; the longer of the two.
 */

const INTERVAL_MS = 20;
const PEER_INTERVAL_MS = 5;

export interface Watched {
  readonly longestMs: number;
  readonly residentBytes: number;
}

export interface Probed {
  /** Addresses of the engine and of a server that has nothing else to do. */
  readonly address: string;
  readonly peer: string;
  readonly pid: number;
}

const { address, peer, pid } = workerData as Probed;
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

async function answerMs(url: string): Promise<number> {
  const startedMs = performance.now();
  await new Promise<void>((resolve, reject) => {
    get(url, { agent }, (response) => response.resume().once('end', resolve)).once('error', reject);
  });
  return performance.now() - startedMs;
}

/** Returns the longest time that the bare server took to answer, until aborted and at least once. */
async function peerMs(signal: AbortSignal): Promise<number> {
  let longest = await answerMs(peer);
  while (!signal.aborted) {
    // Samples are taken at intervals.
    await setTimeout(PEER_INTERVAL_MS);
    longest = Math.max(longest, await answerMs(peer));
  }
  return longest;
}

/** Returns the engine's time to answer, less the machine's share. */
async function healthMs(): Promise<number> {
  const answered = new AbortController();
  const before = coreless();
  const longestOfPeer = peerMs(answered.signal);
  const tookMs = await answerMs(`${address}/healthz`);
  const corelessMs = coreless() - before;
  answered.abort();
  return Math.max(0, tookMs - Math.max(corelessMs, await longestOfPeer));
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
  // Samples are taken at intervals.
  await setTimeout(INTERVAL_MS);
}
agent.destroy();
port.postMessage(watched satisfies Watched);
