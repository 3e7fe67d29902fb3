import assert from 'node:assert/strict';
import { test } from 'node:test';
import { limits } from '../../../src/contract/limits.ts';
import { streamBytes } from '../../../src/contract/stream.ts';
import { StreamCollector } from '../../../src/tools/support/output.ts';
import { executed, opened } from '../../conformance/instances.ts';
import { faults } from '../../conformance/faults.ts';
import { until } from '../../support/time/until.ts';
import { openEngine } from '../bench.ts';

test('output after the first 10 MiB is seen while its process goes on, and its end is kept', async () => {
  await using bench = await openEngine();
  const { engine, base } = bench;
  const uuid = await opened(engine, { image: base.uuid });
  // Each part is read before the next one is written: a reader who falls behind by more than the tail would miss some.
  const [part, parts] = [limits.instanceTailBytesMax / 2, 6];
  const bytes = part * parts;
  const steps = Array.from({ length: parts }, (_, index) => `flood ${part}; awaits /go${index + 1}`);
  const { spid } = await engine.processes.start(uuid, { command: `${steps.join('; ')}; echo end`, shell: true });
  let size = 0;
  for await (const event of engine.operations.events(uuid, { follow: true, full: true, spid })) {
    assert.notEqual(event.type, 'truncated');
    if (event.type !== 'stdout') continue;
    size += streamBytes(event.data).length;
    if (size === bytes) break;
    if (size % part === 0) await executed(engine, uuid, { command: 'touch', args: [`/go${size / part}`] });
  }
  assert.equal(size, bytes, 'all of it, while the process goes on');
  await executed(engine, uuid, { command: 'touch', args: [`/go${parts}`] });
  const again = new StreamCollector('stdout');
  const types = new Set<string>();
  for await (const event of engine.operations.events(uuid, { follow: true, full: true, spid })) {
    again.add(event);
    types.add(event.type);
    if (event.type === 'exit') break;
  }
  const { first, last, totalBytes } = again.kept;
  assert.equal(totalBytes, bytes + 4);
  assert.ok(
    types.has('truncated') && first.length + last.length < totalBytes,
    'a later reader is told what is missing',
  );
  assert.equal(first.length, limits.outputBytesKept);
  assert.ok(last.length > limits.instanceTailBytesMax / 2 && last.toString('latin1').endsWith('xend\n'));
  const { stdout } = await engine.processes.get(uuid, spid);
  assert.deepEqual([stdout?.value.length, stdout?.truncated], [limits.outputBytesShownDefault, true]);
});

test('an instance takes any number of commands: it keeps the last ones, and says how many it has forgotten', async () => {
  const [commands, atOnce] = [limits.instanceProcessesLogged * 2, 20];
  await using bench = await openEngine();
  const { engine, base, store } = bench;
  const uuid = await opened(engine, { image: base.uuid });
  const first = await engine.processes.start(uuid, { command: 'awaits', args: ['/go'] });
  for (let done = 0; done < commands; done += atOnce) {
    const batch = Array.from({ length: atOnce }, () => executed(engine, uuid, { command: 'echo', args: ['x'] }));
    for (const { stdout } of await Promise.all(batch)) assert.equal(stdout?.value, 'x\n');
  }
  const forgotten = commands - limits.instanceProcessesLogged;
  await until(async () => (await engine.instances.get(uuid)).processes_forgotten === forgotten);
  const { processes } = await engine.instances.get(uuid);
  assert.equal(processes.length, limits.instanceProcessesListed + 1);
  assert.equal(processes[0]?.spid, first.spid);
  const rows = (await Array.fromAsync(store.events.read(uuid, { since: -1, follow: false }))).length;
  assert.ok(rows < 4 * limits.instanceProcessesLogged, `${rows} events`);
  await assert.rejects(engine.processes.get(uuid, first.spid + 1), faults('SUBPROCESS_NOT_FOUND'));
  assert.equal((await engine.processes.get(uuid, first.spid + commands)).stdout?.value, 'x\n');
  assert.equal((await engine.processes.get(uuid, first.spid)).state?.pid, processes[0].pid);
});

test('input of a terminal that is used for days is recorded a bounded number of times', async () => {
  await using bench = await openEngine();
  const { engine, base, store } = bench;
  const uuid = await opened(engine, { image: base.uuid });
  const stdin = { value: '', close: false } as const;
  const { spid } = await engine.processes.start(uuid, { command: 'cat', stdin });
  for (let at = 0; at <= limits.instanceInputsLogged; at += 1) {
    await engine.processes.write(uuid, spid, { value: 'x', close: false });
  }
  await until(
    async () => (await engine.processes.get(uuid, spid)).stdout?.value.length === limits.instanceInputsLogged + 1,
  );
  const log = await Array.fromAsync(store.events.read(uuid, { since: -1, follow: false }));
  assert.equal(log.filter(({ type }) => type === 'stdin').length, limits.instanceInputsLogged);
});
