import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { HttpContree } from '../../src/client/index.ts';
import type { OperationEvent } from '../../src/contract/event.ts';
import type { OperationResponse } from '../../src/contract/operation.ts';
import type { InstanceResult, InstanceSpawnRequest, StreamRepr } from '../../src/contract/run.ts';
import { streamBytes } from '../../src/contract/stream.ts';
import { limits } from '../../src/contract/limits.ts';
import { collect } from '../../src/std/bytes.ts';
import { execute, cliHome, type CliHome } from '../support/home.ts';
import { FakeRegistry } from '../support/servers/registry.ts';
import { addBusybox } from '../support/small-image.ts';

/* The REST contract's rules for runs, tested with a real engine and real guests. */

const MIB = 1024 ** 2;
const SIGTERM = 15;
const SIGKILL = 9;
const CANARY = 'canary-5e1f0c77';

let home: CliHome;
let contree: HttpContree;
let base: string;

before(async () => {
  await using registry = await FakeRegistry.start();
  await addBusybox(registry, '1');
  home = await cliHome();
  const imported = await home.json<{ result_image_uuid: string }>(['import', `docker://${registry.host}/team/app:1`]);
  base = imported.result_image_uuid;
  contree = await home.connect();
});

after(async () => {
  await contree[Symbol.asyncDispose]();
  await home[Symbol.asyncDispose]();
});

type Request = Omit<InstanceSpawnRequest, 'image'> & { readonly image?: string };

interface Finished {
  readonly operation: OperationResponse;
  readonly events: readonly OperationEvent[];
  readonly result: InstanceResult;
  readonly stdout: string;
}

async function finished(uuid: string): Promise<Finished> {
  const events = await Array.fromAsync(contree.operations.events(uuid, { follow: true }));
  const operation = await contree.operations.get(uuid);
  const { metadata } = operation;
  assert.ok('result' in metadata && metadata.result);
  const { result } = metadata;
  return { operation, events, result, stdout: text(result.stdout) };
}

async function run(request: Request): Promise<Finished> {
  return finished((await contree.runs.start({ image: base, ...request })).uuid);
}

function shell(command: string, more: Partial<Request> = {}): Request {
  return { command, shell: true, ...more };
}

function text(stream: StreamRepr | undefined): string {
  assert.ok(stream);
  return Buffer.from(streamBytes(stream)).toString('latin1');
}

/** Follows an operation in the background; `seen` resolves with the first matching event. */
function following(uuid: string): {
  readonly all: OperationEvent[];
  readonly over: Promise<void>;
  seen(fits: (event: OperationEvent) => boolean): Promise<OperationEvent>;
} {
  const all: OperationEvent[] = [];
  let arrived = Promise.withResolvers<void>();
  const over = (async () => {
    for await (const event of contree.operations.events(uuid, { follow: true })) {
      all.push(event);
      arrived.resolve();
      arrived = Promise.withResolvers();
    }
    arrived.resolve();
  })();
  const seen = async (fits: (event: OperationEvent) => boolean): Promise<OperationEvent> => {
    for (;;) {
      const found = all.find(fits);
      if (found !== undefined) return found;
      assert.notEqual(all.at(-1)?.type, 'completion', 'it ended before');
      await arrived.promise;
    }
  };
  return { all, over, seen };
}

function said(events: readonly OperationEvent[], spid: number): string {
  return events.map((event) => (event.type === 'stdout' && event.spid === spid ? text(event.data) : '')).join('');
}

test('every field of a request does in a guest what it says', async () => {
  const { uuid } = await contree.uploads.create(contentOf('#!/bin/sh\necho tool\n'));
  const { sha256 } = await contree.uploads.create(contentOf('synced'));
  const { state } = await contree.uploads.offerDirectory({
    entries: [{ path: '/state/file', sha256, mode: 0o604, uid: 5, gid: 6 }],
  });
  assert.ok(state);
  const first = await run({
    command: 'chmod',
    args: ['777', '/tmp'],
    env: { KEPT: 'kept', GONE: 'gone' },
    preserve_env: true,
    files: { '/in/tool': { uuid, mode: '0o100750', uid: 1000, gid: 8 } },
    directory_states: [state.id],
  });
  assert.equal(first.operation.status, 'SUCCESS', first.operation.error ?? '');
  const image = first.operation.result_image_uuid;
  assert.ok(image !== null && image !== base);
  const script = `
    echo "$KEPT \${GONE-unset} $NEW $API_TOKEN"; pwd; id -u; id -g; hostname; cat; nproc
    awk '/MemTotal/ { print ($2 > 180000 && $2 <= 262144) }' /proc/meminfo
    stat -c '%a %u %g' /in/tool /state/file; /in/tool; cat /state/file; echo
    ip route | grep -c ^default
    dd if=/dev/zero of=/tmp/big bs=1M count=100 2>&1 | grep -c 'No space'; rm /tmp/big; echo`;
  const { operation, stdout } = await run(
    shell(script, {
      image,
      args: ['two words'],
      env: { GONE: null, NEW: 'new', API_TOKEN: CANARY },
      cwd: '/made/here',
      uid: 1000,
      gid: 1001,
      hostname: 'named',
      stdin: { value: `${CANARY}\n`, encoding: 'ascii' },
      timeout: 100,
      truncate_output_at: 10_000,
      disposable: true,
      resources_limits: { max_layer_bytes: 48 * MIB, cpus: 2, memory_mib: 256 },
      networking: { mode: 'none' },
    }),
  );
  assert.equal(operation.status, 'SUCCESS', operation.error ?? '');
  assert.equal(operation.result_image_uuid, null, 'disposable');
  const expected = [
    `kept unset new ${CANARY}`,
    '/made/here',
    '1000',
    '1001',
    'named',
    CANARY,
    '2',
    '1',
    '750 1000 8',
    '604 5 6',
    'tool',
    'synced',
    '0',
    '1',
    'two words',
    '',
  ];
  assert.deepEqual(stdout.split('\n'), expected);
  // As a program with separate arguments.
  const words = await run({ command: 'printf', args: ['%s|', 'a b', '$HOME', ''], disposable: true });
  assert.equal(words.stdout, 'a b|$HOME||');
});

async function* contentOf(content: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(content);
}

test('37: a secret that was passed as a variable or as input is only where its command said it', async () => {
  // The previous run printed it: its output is the only place.
  const { uuid } = await contree.runs.start({
    image: base,
    ...shell('cat > /dev/null; test -n "$API_TOKEN" && echo x > /changed', {
      env: { API_TOKEN: `silent-${CANARY}` },
      stdin: { value: `silent-${CANARY}`, encoding: 'ascii' },
    }),
  });
  const { operation } = await finished(uuid);
  assert.ok(operation.result_image_uuid !== null && operation.result_image_uuid !== base);
  const found = await execute('grep', [
    '-rlaF',
    // Templates, made before the secret was used, and very large.
    '--exclude-dir=microvm',
    `silent-${CANARY}`,
    home.dataDir,
  ]);
  assert.deepEqual([found.code, found.stdout], [1, '']);
});

test('a run can be followed, written to and joined while it goes on, and its log replayed', async () => {
  const open = { value: '', encoding: 'ascii', close: false } as const;
  const { uuid } = await contree.runs.start({ image: base, command: 'cat', disposable: true, stdin: open });
  const log = following(uuid);
  await log.seen(({ type, spid }) => type === 'spawn' && spid === 1);
  const bytes = Buffer.from([0, 255, 10, 195, 40, 13]);
  await contree.processes.write(uuid, 1, { value: bytes.toString('base64'), encoding: 'base64', close: false });
  await log.seen(({ type }) => type === 'stdout');

  const beside = await contree.processes.start(uuid, { command: 'echo beside; cat; exit 3', shell: true, stdin: open });
  await contree.processes.write(uuid, beside.spid, { value: 'its own input\n', close: true });
  await log.seen(({ type, spid }) => type === 'exit' && spid === beside.spid);
  const joined = await contree.processes.get(uuid, beside.spid);
  assert.deepEqual([text(joined.stdout), joined.state?.exit_code], ['beside\nits own input\n', 3]);

  const group = await contree.processes.start(uuid, { command: 'sleep 1000 & sleep 1000', shell: true });
  await log.seen(({ type, spid }) => type === 'spawn' && spid === group.spid);
  await contree.processes.kill(uuid, group.spid, { signal: 'TERM' });
  await log.seen(({ type, spid }) => type === 'exit' && spid === group.spid);
  assert.equal((await contree.processes.get(uuid, group.spid)).state?.signal, SIGTERM);
  const left = await contree.processes.start(uuid, { command: "ps | grep '[s]leep'", shell: true });
  await log.seen(({ type, spid }) => type === 'exit' && spid === left.spid);
  assert.equal((await contree.processes.get(uuid, left.spid)).state?.exit_code, 1, 'all of the group has ended');

  await contree.processes.write(uuid, 1, { value: '', close: true });
  await log.over;
  assert.equal(said(log.all, 1), bytes.toString('latin1'));
  assert.deepEqual(
    log.all.map(({ id }) => id),
    log.all.map((_, index) => index),
  );
  assert.deepEqual(await Array.fromAsync(contree.operations.events(uuid, {})), log.all, 'replayed');
  assert.equal(log.all.at(-1)?.type, 'completion');
});

test('each end is told apart, and says what it cost', async () => {
  const [failed, killed, late, long, hungry, full] = await Promise.all([
    run(shell('head -c 3000000 /dev/urandom | md5sum > /sum; exit 42')),
    run(shell('kill -9 $$')),
    // 29: it ignores TERM, forks twice, and its grandchild holds the pipe.
    run(shell('trap "" TERM; echo said; (sleep 1000 & sleep 1000 &) ; sleep 1000', { timeout: 2 })),
    run(shell('echo begin; head -c 12000000 /dev/zero; echo end', { truncate_output_at: 100, disposable: true })),
    run(shell('tail /dev/zero', { resources_limits: { memory_mib: 128 }, disposable: true })),
    run(shell('dd if=/dev/zero of=/big bs=1M count=100', { resources_limits: { max_layer_bytes: 32 * MIB } })),
  ]);
  const state = ({ result }: Finished): unknown[] => {
    const { exit_code: code, signal, timed_out: timedOut, out_of_memory: outOfMemory = false } = result.state ?? {};
    return [code, signal, timedOut, outOfMemory];
  };
  for (const { operation } of [failed, killed, late, long, hungry]) {
    assert.equal(operation.status, 'SUCCESS', operation.error ?? '');
  }
  assert.deepEqual(state(failed), [42, -1, false, false]);
  assert.deepEqual(state(killed), [-1, SIGKILL, false, false]);
  assert.deepEqual([state(late), late.stdout], [[-1, SIGKILL, true, false], 'said\n']);
  assert.deepEqual(state(long), [0, -1, false, false]);
  assert.deepEqual(state(hungry), [-1, SIGKILL, false, true]);

  assert.deepEqual(
    [long.stdout.length, long.stdout.slice(0, 6), long.result.stdout?.truncated],
    [100, 'begin\n', true],
  );
  const kept = said(await Array.fromAsync(contree.operations.events(long.operation.uuid, { full: true })), 1);
  assert.ok(
    kept.length >= limits.outputBytesKept && kept.length < 12_000_000 && kept.endsWith('end\n'),
    'head and tail are kept',
  );
  const cut = long.events.find(({ type }) => type === 'truncated');
  assert.ok(cut?.type === 'truncated' && cut.data.bytes_dropped === 12_000_010 - 100);

  assert.deepEqual([full.operation.status, full.operation.error_code], ['FAILED', 'LAYER_BYTES_EXCEEDED']);
  const cap = full.events.find(({ type }) => type === 'size_cap');
  assert.ok(cap?.type === 'size_cap' && cap.data.limit_bytes === 32 * MIB);

  const { resources } = failed.result;
  assert.ok(resources);
  assert.ok(resources.elapsed_time > 0 && resources.max_rss > 0);
  // gVisor does not count page faults.
  assert.equal(resources.page_faults > 0, failed.operation.execution?.sandbox !== 'gvisor');
  assert.ok(resources.user_cpu_time + resources.system_cpu_time > 0);
  assert.equal(resources.cost, resources.user_cpu_time + resources.system_cpu_time);
  assert.equal(failed.operation.consumed_memory, resources.max_rss);
  assert.ok((failed.operation.image_size ?? 0) > 0);
});

// No program of a guest can end gVisor.
test('a microVM whose kernel fails is told as lost, with the reason', async () => {
  const crashed = await run({ ...shell('echo c > /proc/sysrq-trigger; sleep 100'), sandbox: 'microvm' });
  assert.deepEqual([crashed.operation.status, crashed.operation.error_code], ['FAILED', 'GUEST_LOST']);
  assert.match(crashed.operation.error ?? '', /panic/iu);
});

test('what a run sends and receives is counted', async () => {
  const { operation, events } = await run(shell('nslookup example.org || true', { disposable: true, timeout: 30 }));
  const network = events.find(({ type }) => type === 'network');
  assert.ok(network?.type === 'network');
  const [eth0] = network.data.interfaces;
  assert.ok(eth0 && eth0.tx_bytes > 0 && eth0.rx_bytes > 0 && eth0.tx_packets > 0);
  assert.deepEqual(operation.execution?.network?.tx_bytes, eth0.tx_bytes);
});

test('TERM to process 1 ends a run well, with what it had written', async () => {
  const { uuid } = await contree.runs.start({ image: base, ...shell('echo kept > /kept; echo ready; sleep 1000') });
  const log = following(uuid);
  await log.seen(({ type }) => type === 'stdout');
  await contree.processes.kill(uuid, 1, { signal: 'TERM' });
  const { operation, result } = await finished(uuid);
  assert.deepEqual([operation.status, result.state?.signal], ['SUCCESS', SIGTERM]);
  const image = operation.result_image_uuid;
  assert.ok(image !== null && image !== base);
  const { body } = await contree.files.read(image, { path: '/kept' });
  assert.equal((await collect(body, 100)).toString(), 'kept\n');
});

test('a cancelled run is over after the grace period, whatever runs in it, and makes no image', async () => {
  const { uuid } = await contree.runs.start({
    image: base,
    ...shell('trap "" TERM; echo x > /x; echo up; sleep 1000'),
  });
  const log = following(uuid);
  await log.seen(({ type }) => type === 'stdout');
  const askedMs = Date.now();
  await contree.operations.cancel(uuid);
  await log.over;
  const last = log.all.at(-1);
  assert.ok(last?.type === 'completion');
  assert.deepEqual([last.data.status, last.data.result_image_uuid], ['CANCELLED', null]);
  assert.ok(Date.parse(last.ts) - askedMs < 10_000, `${Date.parse(last.ts) - askedMs} ms`);
});

test('a grandchild that holds the pipe does not keep a run open, and what changes nothing is the input image', async () => {
  const { operation, stdout } = await run(shell('(sleep 1000; echo never) & echo done', { timeout: 100 }));
  assert.deepEqual([operation.status, stdout], ['SUCCESS', 'done\n']);
  assert.ok(operation.duration < 60);
  assert.equal(operation.result_image_uuid, base);
  // 36: neither reading, nor files that were created and removed again, nor times.
  const noise = await run(
    shell('cat /etc/* > /dev/null; touch /etc/x; rm /etc/x; mkdir /a && rmdir /a; ls -R / > /dev/null'),
  );
  assert.equal(noise.operation.result_image_uuid, base);
});
