import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LogBudget, type LogBounds } from '../../../src/engine/instance/log-budget.ts';
import { ProcessLog } from '../../../src/engine/run/process-log.ts';
import { limits } from '../../../src/contract/limits.ts';
import type { StoredEvent } from '../../../src/store/log/event-rows.ts';
import { openStore } from '../../store/bench.ts';
import { until } from '../../support/time/until.ts';

const BOUNDS: LogBounds = {
  outputBytes: Infinity,
  outputRows: Infinity,
  tailBytes: Infinity,
  tailRows: Infinity,
  processes: Infinity,
};

/** Opens a store with the log of an instance and its budget. */
async function openBudget(bounds: Partial<LogBounds>) {
  const bench = await openStore();
  const { events, operations } = bench.store;
  const uuid = operations.create({ kind: 'instance', request: '{}' });
  const budget = new LogBudget(events, uuid, { ...BOUNDS, ...bounds });
  return {
    events,
    uuid,
    budget,
    log: () => Array.fromAsync(events.read(uuid, { since: -1, follow: false })),
    /** Starts the log of a process that writes. */
    process: (spid: number) =>
      new ProcessLog(events, uuid, spid, { shownMax: 1_000, wrote: (output) => budget.wrote(output) }),
    [Symbol.asyncDispose]: async () => {
      await budget[Symbol.asyncDispose]();
      await bench[Symbol.asyncDispose]();
    },
  };
}

/** Returns what a log says of the output of a stream: the ranges that it has, and where it says that some is missing. */
function shape(log: readonly StoredEvent[]): readonly (readonly [string, number, number])[] {
  const found: [string, number, number][] = [];
  for (const event of log) {
    if (event.type === 'truncated') found.push(['gap', event.data.bytes_kept ?? -1, event.data.resumes_at ?? -1]);
    if (!('bytes' in event)) continue;
    const end = event.offset + event.bytes.byteLength;
    const last = found.at(-1);
    if (last?.[0] === 'output' && last[2] === event.offset) last[2] = end;
    else found.push(['output', event.offset, end]);
  }
  return found;
}

test('of too much output the oldest is dropped, the log says so in its place, and facts and newest output stay', async () => {
  await using bench = await openBudget({ outputBytes: 8_000 });
  const { events, uuid, budget } = bench;
  for (let spid = 2; spid < 102; spid += 1) {
    events.append(uuid, spid, 'stdin', { value: '', encoding: 'ascii' });
    bench.process(spid).write({ stream: 'stdout', bytes: Buffer.alloc(1_000, 'x') });
    events.flush();
    await budget.settled();
  }
  const log = await bench.log();
  assert.equal(log.filter(({ type }) => type === 'stdin').length, 100);
  const kept = log.filter(({ type }) => type === 'stdout').map(({ spid }) => spid);
  assert.ok(kept.length <= 8 && kept.length >= 7, String(kept.length));
  assert.deepEqual(
    kept,
    Array.from({ length: kept.length }, (_, index) => 102 - kept.length + index),
  );
  const said = log.flatMap((event) => (event.type === 'truncated' ? [[event.spid, event.data.bytes_dropped]] : []));
  assert.deepEqual(
    said,
    Array.from({ length: 100 - kept.length }, (_, index) => [index + 2, 1_000]),
  );
  assert.deepEqual(
    log.map(({ id }) => id),
    log.map((_, index) => index),
    'each fact about missing output is where the output was',
  );
});

test('output in many small pieces is bounded by the number of its events, too', async () => {
  await using bench = await openBudget({ outputRows: 100 });
  const writer = bench.process(2);
  for (let at = 0; at < 1_000; at += 1) {
    writer.write({ stream: at % 2 === 0 ? 'stdout' : 'stderr', bytes: Buffer.from('x') });
    bench.events.flush();
  }
  await bench.budget.settled();
  const log = await bench.log();
  const rows = log.filter((event) => 'bytes' in event);
  assert.ok(rows.length <= 100 && rows.length >= 80, String(rows.length));
  assert.equal(log.length - rows.length, 2, 'one fact for each stream');
});

test('a process that writes on is followed live; its first bytes and its last ones are kept, and one fact about the gap', async () => {
  await using bench = await openBudget({ tailBytes: 1_000_000 });
  const { events, uuid, budget } = bench;
  const writer = bench.process(2);
  const chunk = Buffer.alloc(250_000);
  const chunks = 2 + Math.ceil((2.5 * limits.outputBytesKept) / chunk.length);
  const read = events.read(uuid, { since: -1, follow: true, spid: 2 }, AbortSignal.timeout(60_000));
  let size = 0;
  const live = (async () => {
    for await (const event of read) {
      assert.notEqual(event.type, 'truncated', 'nothing is missing for a reader who keeps up');
      if ('bytes' in event) size += event.bytes.byteLength;
      if (event.type === 'exit') return;
    }
  })();
  for (let index = 1; index <= chunks; index += 1) {
    writer.write({ stream: 'stdout', bytes: chunk });
    await until(() => size === index * chunk.length);
    await budget.settled();
  }
  events.append(uuid, 2, 'exit', EXIT);
  await live;
  writer.close();
  const found = shape(await bench.log());
  const total = chunks * chunk.length;
  assert.deepEqual(
    found.map(([kind]) => kind),
    ['output', 'gap', 'output', 'gap'],
  );
  const [first, gap, last, end] = found as [[string, number, number], ...[string, number, number][]] & {
    length: 4;
  };
  assert.ok(first[1] === 0 && first[2] >= limits.outputBytesKept && first[2] < limits.outputBytesKept + chunk.length);
  assert.deepEqual(gap?.slice(1), [first[2], last?.[1]]);
  assert.equal(last?.[2], total);
  assert.ok(total - (last?.[1] ?? 0) <= 1_000_000);
  assert.equal(end?.[2], total, 'the end says how much there was, and that nothing follows');
});

test('a reader who asks for no more than the request allows is told how much there was', async () => {
  await using bench = await openBudget({ tailBytes: 1_000 });
  const writer = bench.process(2);
  writer.write({ stream: 'stdout', bytes: Buffer.alloc(5_000) });
  writer.close();
  const [said] = (await bench.log()).flatMap((event) => (event.type === 'truncated' ? [event.data] : []));
  assert.deepEqual(said, {
    stream: 'stdout',
    bytes_emitted: 1_000,
    bytes_dropped: 4_000,
    bytes_kept: 5_000,
    resumes_at: 5_000,
  });
});

test('of very many processes all events of those that ended first are removed, and counted; one that runs stays', async () => {
  await using bench = await openBudget({ processes: 10 });
  const { events, uuid, budget } = bench;
  const running = bench.process(2);
  running.write({ stream: 'stdout', bytes: Buffer.from('started') });
  for (let spid = 3; spid < 103; spid += 1) {
    const writer = bench.process(spid);
    events.append(uuid, spid, 'stdin', { value: '', encoding: 'ascii' });
    for (let at = 0; at < (spid === 50 ? 600 : 2); at += 1) {
      writer.write({ stream: 'stdout', bytes: Buffer.from('x') });
      events.flush();
    }
    events.append(uuid, spid, 'exit', EXIT);
    budget.ended(spid);
  }
  await budget.settled();
  const left = new Set((await bench.log()).map(({ spid }) => spid));
  assert.deepEqual([...left], [2, 93, 94, 95, 96, 97, 98, 99, 100, 101, 102]);
  assert.equal(budget.forgotten, 90);
});

const EXIT = {
  pid: 7,
  code: 0,
  signal: -1,
  timed_out: false,
  duration_ms: 1,
  resources: {
    user_time_us: 0,
    sys_time_us: 0,
    max_rss_kb: 0,
    shared_memory: 0,
    unshared_memory: 0,
    swaps: 0,
    minor_faults: 0,
    major_faults: 0,
    voluntary_ctx_switches: 0,
    involuntary_ctx_switches: 0,
    block_input_ops: 0,
    block_output_ops: 0,
    ipc_msgs_sent: 0,
    ipc_msgs_received: 0,
    signals_received: 0,
  },
};
