import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { command } from '../scripts/support/command.ts';
import { ROOT } from '../test/support/home.ts';
import { connectStdio } from './support/mcp.ts';
import { sample, sampleOf, samplePair, timeMs } from './support/measure.ts';
import type { Place } from './support/place.ts';
import type { Report } from './support/report.ts';

const INITIALIZE = {
  jsonrpc: '2.0',
  id: 1,
  method: 'initialize',
  params: { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'bench', version: '1' } },
};

/** Starts the stdio server, waits for its first reply and for it to settle; returns time and resident memory. */
async function startMcp(dataDir: string): Promise<{ readonly replyMs: number; readonly memoryMib: number }> {
  const startedMs = performance.now();
  const server = spawn(process.execPath, [join(ROOT, 'bin/contree-mcp'), '--data-dir', dataDir], {
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  server.stdin.write(`${JSON.stringify(INITIALIZE)}\n`);
  await once(server.stdout, 'data');
  const replyMs = performance.now() - startedMs;
  await delay(1_000);
  const status = await readFile(`/proc/${server.pid}/status`, 'utf8');
  server.stdin.end();
  await once(server, 'exit');
  return { replyMs, memoryMib: Number(/^VmRSS:\s+(\d+) kB/mu.exec(status)?.[1]) / 1024 };
}

/** Calls tools that need no microVM, as an agent does: over the streams of the server's process. */
async function benchFreeCalls({ home, image }: Place, report: Report): Promise<void> {
  await using mcp = await connectStdio(home.dataDir);
  const calls = {
    read_file: { image, path: '/etc/debian_version' },
    list_files: { image, path: '/etc' },
    list_images: {},
    get_guide: { section: 'workflow' },
  };
  for (const [tool, args] of Object.entries(calls)) {
    const { medianMs, p99Ms } = await sample(200, () => mcp.call(tool, args), 20);
    report.add({
      what: `${tool} over stdio, p50`,
      value: medianMs,
      unit: 'ms',
      budget: { atMost: 10 },
      note: `p99 ${p99Ms.toFixed(1)} ms`,
    });
  }
}

/** A Node that does nothing, beside which the starts of our programs are measured. */
const idleNode = (): Promise<unknown> => command(process.execPath, ['-e', '0']);

/** Measures commands that need no microVM, from the start of their process to its end. */
async function benchCommands({ home, image }: Place, report: Report): Promise<void> {
  const commands = { '--version': ['--version'], cat: ['cat', image, '/etc/debian_version'] };
  for (const [name, args] of Object.entries(commands)) {
    const line = [join(ROOT, 'bin/contree'), ...args, '--data-dir', home.dataDir];
    const { ours, peer, ratio } = await samplePair(15, () => command(process.execPath, line), idleNode);
    report.add({
      what: `contree ${name}, p50`,
      value: ours.medianMs,
      unit: 'ms',
      budget: { atMost: 120 },
      peer: `node -e 0: ${peer.medianMs.toFixed(0)} ms; ratio ${ratio.toFixed(1)}`,
    });
  }
}

/** Measures start and memory of the processes. */
export async function benchServers(place: Place, report: Report): Promise<void> {
  report.section('Processes');
  await benchCommands(place, report);
  const starts: { replyMs: number; memoryMib: number }[] = [];
  const idleMs: number[] = [];
  for (let index = 0; index < 9; index += 1) {
    starts.push(await startMcp(place.home.dataDir));
    idleMs.push(await timeMs(idleNode));
  }
  const reply = sampleOf(starts.map(({ replyMs }) => replyMs));
  const idle = sampleOf(idleMs);
  const memory = sampleOf(starts.map(({ memoryMib }) => memoryMib));
  report.add({
    what: 'stdio MCP server: start to first reply, p50',
    value: reply.medianMs,
    unit: 'ms',
    budget: { atMost: 180 },
    peer: `node -e 0: ${idle.medianMs.toFixed(0)} ms; ratio ${(reply.medianMs / idle.medianMs).toFixed(1)}`,
  });
  report.add({ what: 'stdio MCP server: idle memory', value: memory.medianMs, unit: 'MiB', budget: { atMost: 90 } });
  await benchFreeCalls(place, report);
  report.add({
    what: 'engine memory after this benchmark',
    value: (await place.engine()).memoryMib,
    unit: 'MiB',
    budget: { atMost: 200 },
  });
}
