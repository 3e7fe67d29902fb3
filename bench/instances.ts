import { join } from 'node:path';
import type { InstanceOpenRequest } from '../src/contract/instance.ts';
import type { ExecSpec } from '../src/contract/run.ts';
import { defined } from '../src/std/assert.ts';
import { hasRunsc } from '../test/support/gvisor.ts';
import { memoryOfJails } from './support/jail-memory.ts';
import { sampleOf, timeMs } from './support/measure.ts';
import type { Place } from './support/place.ts';
import type { Report } from './support/report.ts';

const EXECS = 60;
const OPEN = 50;
const SMALL = { memory_mib: 128 };
const FILES = 5_000;
const SNAPSHOTS = 3;

type Sandbox = 'gvisor' | 'microvm';

/** Milliseconds of one command, as its client saw it and as it ran in the guest. */
interface Exec {
  readonly clientMs: number;
  readonly guestMs: number;
}

/** Opens an instance and waits until it is up. */
async function open({ contree, image }: Place, request: Omit<InstanceOpenRequest, 'image'>): Promise<string> {
  const { uuid } = await contree.instances.open({ image, ...request });
  for await (const { type } of contree.operations.events(uuid, { follow: true })) if (type === 'init') break;
  return uuid;
}

/** Executes a command as a client does: starts it and follows its log to its end. */
async function execute({ contree }: Place, uuid: string, spec: ExecSpec): Promise<Exec> {
  let guestMs = 0;
  const clientMs = await timeMs(async () => {
    const { spid } = await contree.processes.start(uuid, spec);
    for await (const event of contree.operations.events(uuid, { follow: true, spid })) {
      if (event.type !== 'exit') continue;
      if (event.data.code !== 0) throw new Error(`a command ended with ${event.data.code}`);
      guestMs = event.data.duration_ms;
      break;
    }
  });
  return { clientMs, guestMs };
}

/** Measures what a client waits for beyond the command itself. */
async function execs(place: Place, report: Report, sandbox: Sandbox): Promise<void> {
  const uuid = await open(place, { sandbox, disposable: true });
  await execute(place, uuid, { command: '/bin/true' });
  const all: Exec[] = [];
  for (let index = 0; index < EXECS; index += 1) all.push(await execute(place, uuid, { command: '/bin/true' }));
  const above = sampleOf(all.map(({ clientMs, guestMs }) => clientMs - guestMs));
  const [client, guest] = [sampleOf(all.map(({ clientMs }) => clientMs)), sampleOf(all.map((one) => one.guestMs))];
  const atMost = sandbox === 'gvisor' ? 15 : 60;
  report.add({
    what: `exec in an open instance above the command itself (${sandbox}), p50`,
    value: above.medianMs,
    unit: 'ms',
    budget: { atMost },
    note: `whole ${client.medianMs.toFixed(1)} ms, in the guest ${guest.medianMs.toFixed(0)} ms; p99 above ${above.p99Ms.toFixed(1)} ms`,
  });
  await place.contree.instances.close(uuid);
  await place.finished(uuid);
}

/** Opens many instances and measures what each takes. */
async function many(place: Place, report: Report): Promise<void> {
  const stateDir = join(place.home.dataDir, 'gvisor');
  const before = (await place.engine()).memoryMib;
  const uuids: string[] = [];
  const elapsedMs = await timeMs(async () => {
    while (uuids.length < OPEN) {
      uuids.push(await open(place, { sandbox: 'gvisor', disposable: true, resources_limits: SMALL }));
    }
  });
  for (const uuid of uuids) await execute(place, uuid, { command: '/bin/true' });
  const memory = await memoryOfJails(stateDir);
  const engine = (await place.engine()).memoryMib - before;
  report.add({
    what: `memory of each of ${OPEN} open instances after one command (gvisor)`,
    value: memory / OPEN,
    unit: 'MiB',
    note: `proportional set size; the engine itself took ${engine.toFixed(0)} MiB more; opened in ${(elapsedMs / OPEN).toFixed(0)} ms each`,
  });
  const last = defined(uuids.at(-1), 'instances were opened');
  const busy: number[] = [];
  for (let index = 0; index < EXECS; index += 1) {
    const { clientMs, guestMs } = await execute(place, last, { command: '/bin/true' });
    busy.push(clientMs - guestMs);
  }
  report.add({
    what: `exec in one of ${OPEN} above the command itself (gvisor), p50`,
    value: sampleOf(busy).medianMs,
    unit: 'ms',
  });
  for (const uuid of uuids) await place.contree.instances.close(uuid);
  for (const uuid of uuids) await place.finished(uuid);
}

/** Snapshots a change of many files while another process goes on writing files. */
async function snapshots(place: Place, report: Report, sandbox: Sandbox): Promise<void> {
  const { contree } = place;
  const uuid = await open(place, { sandbox });
  const write = (name: string): string =>
    `import os\nos.makedirs("/root/${name}",exist_ok=True)\nfor i in range(${FILES}): open(f"/root/${name}/{i}","w").write("x"*1000)`;
  // Unpacks packages again and again, as `apt-get install` does.
  const install =
    'mkdir -p /var/tmp/i; while :; do tar -C / -cf - usr/share/perl5 usr/share/doc | tar -C /var/tmp/i -xf -; done';
  const { spid } = await contree.processes.start(uuid, { command: install, shell: true });
  const [whole, frozen]: [number[], number[]] = [[], []];
  for (let round = 0; round < SNAPSHOTS; round += 1) {
    await execute(place, uuid, { command: 'python3', args: ['-c', write(`many-${round}`)] });
    let taken = { frozen_ms: 0 };
    whole.push(await timeMs(async () => (taken = await contree.instances.snapshot(uuid))));
    frozen.push(taken.frozen_ms);
  }
  await contree.processes.kill(uuid, spid);
  await contree.instances.close(uuid, { keep: false });
  await place.finished(uuid);
  report.add({
    what: `snapshot of ${FILES} new files while packages are unpacked (${sandbox})`,
    value: sampleOf(whole).medianMs,
    unit: 'ms',
    note: `writers waited ${sampleOf(frozen).medianMs.toFixed(0)} ms; what was unpacked meanwhile is in it too`,
  });
}

/** Measures instances that stay: their commands, their memory, their snapshots. */
export async function benchInstances(place: Place, report: Report): Promise<void> {
  report.section('Instances');
  const sandboxes: Sandbox[] = (await hasRunsc()) ? ['gvisor', 'microvm'] : ['microvm'];
  for (const sandbox of sandboxes) await execs(place, report, sandbox);
  if (sandboxes.includes('gvisor')) await many(place, report);
  for (const sandbox of sandboxes) await snapshots(place, report, sandbox);
}
