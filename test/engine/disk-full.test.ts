import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';

function module(path: string): string {
  return JSON.stringify(new URL(path, import.meta.url).href);
}

/** Script that runs on the small disk; prints one JSON line. */
const SCRIPT = `
  import { readdirSync, rmSync, writeFileSync } from 'node:fs';
  import { collectEvents, openEngine, once, run, script } from ${module('./bench.ts')};
  import { completion, executed, opened } from ${module('../conformance/instances.ts')};
  import { tryLock } from ${module('../../src/client/local/start-lock.ts')};
  import { Store } from ${module('../../src/store/store.ts')};
  const bench = await openEngine();
  const { engine, store } = bench;
  const before = await run(engine, script(bench, 'echo kept > /kept'));
  const doomed = await run(engine, script(bench, 'echo doomed > /doomed'));
  const big = await run(engine, script(bench, 'flood 30000000 > /big; echo said'));
  const events = await collectEvents(engine.operations.events(big.uuid, {}));
  const upload = await engine.uploads.create((async function* () {
    for (let at = 0; at < 300; at += 1) yield Buffer.alloc(100_000, at);
  })()).catch(({ code }) => code);
  const noisy = await Promise.all([1, 2, 3].map(() => run(engine, script(bench, 'flood 8000000', { disposable: true }))));
  const full = await run(engine, script(bench, 'echo again > /again'));
  await engine.system.gc({ older_than_days: -1 });
  const after = await run(engine, script(bench, 'echo again > /again; echo ok'));
  // Its instance goes on without the snapshot, and has one once there is room.
  const open = await opened(engine, { image: bench.base.uuid });
  await executed(engine, open, { command: 'flood 30000000 > /big', shell: true });
  const images = (await engine.images.list({})).length;
  const snapshots = [await engine.instances.snapshot(open).catch(({ code }) => code)];
  snapshots.push((await engine.images.list({})).length - images, readdirSync(store.tmp).length);
  await executed(engine, open, { command: 'rm /big; echo small > /small', shell: true });
  snapshots.push((await engine.instances.snapshot(open)).changed);
  await engine.instances.close(open);
  const closed = (await completion(engine, open)).data;
  snapshots.push(closed.status, (await engine.files.stat(closed.result_image_uuid, { path: '/small' })).size);
  const other = bench.directory + '/other';
  await (await Store.open(other))[Symbol.asyncDispose]();
  tryLock(other + '/start.lock')[Symbol.dispose]();
  // Fills the disk completely.
  const ballast = bench.directory + '/ballast';
  for (const bytes of [1 << 20, 1 << 12, 1]) {
    try {
      for (;;) writeFileSync(ballast, Buffer.alloc(bytes), { flag: 'a' });
    } catch {}
  }
  // What an engine needs to start.
  const started = [];
  {
    using lock = tryLock(other + '/start.lock');
    await using again = await Store.open(other);
    started.push(lock !== undefined, again.images.list({}).length);
  }
  const deleted = await engine.images.delete(doomed.result_image_uuid).then((gone) => gone.length, ({ code }) => code);
  rmSync(ballast);
  const { checks } = await engine.system.doctor({ verify: true });
  console.log(JSON.stringify({
    snapshots,
    before: before.status,
    big: [big.status, big.error_code, big.result_image_uuid],
    last: events.at(-1).type,
    upload,
    noisy: noisy.map(({ status, error_code }) => [status, error_code]),
    noisyEnds: await Promise.all(noisy.map(async ({ uuid }) => (await collectEvents(engine.operations.events(uuid, {}))).at(-1).type)),
    full: full.status === 'SUCCESS' || full.error_code === 'DISK_FULL',
    deleted,
    started,
    after: [after.status, after.error_code ?? null],
    tmp: readdirSync(store.tmp),
    damaged: checks.filter(({ status }) => status === 'failed').length,
    kept: (await engine.files.stat(before.result_image_uuid, { path: '/kept' })).size,
  }));
  await bench[Symbol.asyncDispose]();
`;

/** Runs the script with a file system of that size as its temporary directory, in a separate mount namespace. */
function onSmallDisk(mebibytes: number): { readonly output?: unknown; readonly unavailable?: string } {
  const inside = `mount -t tmpfs -o size=${mebibytes}m tmpfs "$0" && exec "$@"`;
  const program = [process.execPath, '--input-type=module-typescript', '-e', SCRIPT];
  const namespace = process.getuid?.() === 0 ? ['-m'] : ['-r', '-m'];
  const place = '/mnt';
  const { status, stdout, stderr } = spawnSync('unshare', [...namespace, '/bin/sh', '-c', inside, place, ...program], {
    env: { ...process.env, TMPDIR: place },
    encoding: 'utf8',
    timeout: 60_000,
  });
  if (status === 0) return { output: JSON.parse(stdout) };
  if (/unshare|mount/u.test(stderr)) return { unavailable: stderr.trim() };
  throw new Error(`${stdout}${stderr}`);
}

test('a full disk fails what needs the space and nothing else', (context) => {
  const { output, unavailable } = onSmallDisk(20);
  if (unavailable !== undefined) {
    context.skip(`no small file system can be mounted here: ${unavailable}`);
    return;
  }
  const { noisy, ...rest } = output as { noisy: [string, string?][] };
  assert.deepEqual(rest, {
    snapshots: ['DISK_FULL', 0, 0, true, 'SUCCESS', 6],
    before: 'SUCCESS',
    big: ['FAILED', 'DISK_FULL', null],
    last: 'completion',
    upload: 'DISK_FULL',
    noisyEnds: ['completion', 'completion', 'completion'],
    full: true,
    deleted: 1,
    started: [true, 0],
    after: ['SUCCESS', null],
    tmp: [],
    damaged: 0,
    kept: 5,
  });
  // Output that does not fit is dropped and marked, and the run continues, unless there is no room even for its state.
  for (const [status, code] of noisy) assert.ok(status === 'SUCCESS' || code === 'DISK_FULL', `${status} ${code}`);
});
