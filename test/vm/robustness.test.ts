import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, readlink, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { isFault } from '../../src/contract/errors.ts';
import { qcow2BytesMax } from '../../src/sandbox/microvm/vm/disk-image.ts';
import { bootSpec, jailPids, microvmFolder, qemuPids, runScript } from '../support/microvm.ts';
import { LoopWatch } from '../support/time/stopwatch.ts';
import { until } from '../support/time/until.ts';

const folder = await microvmFolder();
after(() => folder[Symbol.asyncDispose]());

const MIB = 1024 ** 2;
const soon = (): AbortSignal => AbortSignal.timeout(120_000);

async function templateFolders(): Promise<string[]> {
  const templates = join(folder.stateDir, 'templates');
  return (await readdir(templates)).map((name) => join(templates, name));
}

async function digest(path: string): Promise<string> {
  return createHash('sha256')
    .update(await readFile(path))
    .digest('hex');
}

/**
 * Returns digests of files that no run may change: the layer, and the template except its disk, which is mostly a hole.
 */
async function digests(): Promise<string[]> {
  const templates = await templateFolders();
  const files = templates.flatMap((template) => [join(template, 'ram'), join(template, 'state')]);
  const paths = [folder.layers[0]!.path, ...files];
  return Promise.all(paths.map(digest));
}

test('a guest that ends itself is told as lost, with the reason, and harms nobody', async () => {
  await using bench = await folder.open();
  const ends = { c: /panic/iu, b: /guest|reset|shutdown/iu, o: /guest|reset|shutdown/iu };
  for (const [letter, reason] of Object.entries(ends)) {
    await using instance = await bench.driver.start(bootSpec(bench.layers), soon());
    const before = await digests();
    await assert.rejects(runScript(instance, `echo ${letter} > /proc/sysrq-trigger; sleep 100`), (error) =>
      isFault(error, 'GUEST_LOST'),
    );
    const lost = await instance.lost;
    assert.ok(isFault(lost, 'GUEST_LOST'));
    assert.match(lost.message, reason, `sysrq ${letter}`);
    assert.deepEqual(await digests(), before);
  }
  assert.equal(await bench.live(), 0);
});

test('a guest that writes to its disks harms only itself', async () => {
  await using bench = await folder.open();
  await bench.driver.warm();
  const before = await digests();
  {
    await using instance = await bench.driver.start(bootSpec(bench.layers), soon());
    const script = 'for disk in /dev/vd?; do dd if=/dev/zero of=$disk bs=1M count=8 conv=fsync; done; echo over';
    await runScript(instance, script).catch((error: unknown) => assert.ok(isFault(error)));
  }
  assert.deepEqual(await digests(), before);
  await using next = await bench.driver.start(bootSpec(bench.layers), soon());
  assert.equal((await runScript(next, 'echo fine')).stdout, 'fine\n');
});

test('26: a guest that writes into the channel of its agent ends its own run at most', async () => {
  await using bench = await folder.open();
  await using other = await bench.driver.start(bootSpec(bench.layers), soon());
  await using instance = await bench.driver.start(bootSpec(bench.layers), soon());
  // Root can send anything on the channel: a frame of 4 GiB, the end of a running process, and random bytes.
  const script = `
    major=$(awk '$2 == "virtio-portsdev" { print $1 }' /proc/devices); test -n "$major" && echo found
    for minor in 0 1 2 3; do
      mknod /port$minor c $major $minor
      { printf '\\001\\204\\001\\000\\377\\377\\377\\377'; printf '\\001\\207\\001\\000'; head -c 300000 /dev/urandom; } > /port$minor
    done 2> /dev/null; echo over`;
  const attacked = await runScript(instance, script).catch((error: unknown) => error);
  if (attacked instanceof Error) assert.ok(isFault(attacked, 'GUEST_PROTOCOL', 'GUEST_LOST'), String(attacked));
  else assert.equal((attacked as { stdout: string }).stdout, 'found\nover\n');
  assert.equal((await runScript(other, 'echo unharmed')).stdout, 'unharmed\n');
});

test('28: a fork bomb keeps its own machine busy and is gone with it', async () => {
  await using bench = await folder.open();
  const bombed = await bench.driver.start(bootSpec(bench.layers), soon());
  const argv = ['sh', '-c', 'echo lit; bomb() { bomb | bomb & bomb; }; bomb'];
  const bomb = await bombed.start({ argv, env: { PATH: '/bin' }, cwd: '/', uid: 0, gid: 0, stdin: false }, soon());
  bomb.outcome.catch(() => undefined);
  await bomb.output[Symbol.asyncIterator]().next();
  // Only time can tell when the bomb has filled the guest: nothing in it can report any more.
  await delay(2_000);
  await using other = await bench.driver.start(bootSpec(bench.layers), soon());
  assert.equal((await runScript(other, 'echo unharmed')).stdout, 'unharmed\n');
  // On the host the guest is one process with its threads, however many processes it has inside.
  assert.equal((await qemuPids(folder.stateDir)).length, 2);
  using watch = new LoopWatch();
  await bombed[Symbol.asyncDispose]();
  assert.ok(watch.ms < 10_000, `${watch.ms} ms`);
});

test('what a run writes is capped: by the guest for the honest, by the host for all', async () => {
  await using bench = await folder.open();
  const diskBytes = 32 * MIB;
  {
    await using honest = await bench.driver.start(bootSpec(bench.layers, { diskBytes }), soon());
    const { stderr, outcome } = await runScript(honest, 'dd if=/dev/zero of=/root/big bs=1M count=100');
    assert.match(stderr, /No space left/u);
    assert.equal(outcome.diskFull, true);
    assert.equal((await runScript(honest, 'echo alive')).stdout, 'alive\n');
  }
  await using hostile = await bench.driver.start(bootSpec(bench.layers, { diskBytes }), soon());
  const script = 'dd if=/dev/zero of=/dev/vdb bs=1M count=200 oflag=direct; echo unharmed';
  const exceeded = (error: unknown): boolean => isFault(error, 'LAYER_BYTES_EXCEEDED');
  await assert.rejects(runScript(hostile, script), exceeded);
  assert.ok(exceeded(await hostile.lost));
  await assert.rejects(runScript(hostile, 'true'), exceeded);
  const [pid] = await qemuPids(folder.stateDir);
  const sizes = await Promise.all(
    (await readdir(`/proc/${pid}/fd`)).map(async (fd) => nameless(`/proc/${pid}/fd/${fd}`)),
  );
  assert.ok(Math.max(...sizes) > 64 * MIB, 'the disk was found');
  assert.ok(Math.max(...sizes) <= qcow2BytesMax(diskBytes));
});

/** Returns the host space of an open nameless file; the padding has none, and the memory is not of this kind. */
async function nameless(descriptor: string): Promise<number> {
  const target = await readlink(descriptor);
  if (!target.startsWith(folder.stateDir) || !target.endsWith(' (deleted)')) return 0;
  return (await stat(descriptor)).blocks * 512;
}

test('a machine has the processors and the memory that were asked for', async () => {
  await using bench = await folder.open();
  await using instance = await bench.driver.start(bootSpec(bench.layers, { cpus: 2, memoryMib: 320 }), soon());
  const { stdout } = await runScript(instance, 'nproc; free -m | head -2 | tail -1');
  const [processors, memory = ''] = stdout.split('\n');
  assert.equal(processors, '2');
  const mib = Number(memory.trim().split(/\s+/u)[1]);
  assert.ok(mib > 230 && mib <= 320, memory);
});

test('an image of many layers is one disk', async () => {
  await using bench = await folder.open();
  const layers = Array.from({ length: 24 }, () => bench.layers[0]!);
  await using instance = await bench.driver.start(bootSpec(layers), soon());
  assert.equal((await runScript(instance, 'echo stacked')).stdout, 'stacked\n');
});

test('a layer that is none fails its own boot, not the template', async () => {
  await using bench = await folder.open();
  await bench.driver.warm();
  const path = join(folder.stateDir, 'garbage');
  await writeFile(path, Buffer.alloc(MIB, 'garbage'));
  const boot = bench.driver.start(bootSpec([{ path, bytes: MIB }]), soon());
  await assert.rejects(boot, (error) => isFault(error, 'GUEST_LOST') && /gave up/u.test(error.message));
  assert.deepEqual(
    bench.logged.filter((line) => line.includes('anew')),
    [],
  );
  assert.equal(await bench.live(), 0);
});

test('a damaged template is made anew', async () => {
  for (const file of ['state', 'ram']) {
    for (const template of await templateFolders()) await truncate(join(template, file), 1_000);
    await using bench = await folder.open();
    await using instance = await bench.driver.start(bootSpec(bench.layers), soon());
    assert.equal((await runScript(instance, 'echo anew')).stdout, 'anew\n');
    assert.ok(bench.logged.some((line) => line.startsWith('made a template')));
  }
});

test('a restore that fails is tried once more', async () => {
  await using bench = await folder.open();
  await (await bench.driver.start(bootSpec(bench.layers), soon()))[Symbol.asyncDispose]();
  const failed = (): boolean => bench.logged.some((line) => line.startsWith('a restore failed and is tried again'));
  // On a busy machine the guest may be there before its jail is killed.
  while (!failed()) {
    const starting = bench.driver.start(bootSpec(bench.layers), soon());
    let jail: number | undefined;
    while (jail === undefined) [jail] = await jailPids(folder.stateDir);
    process.kill(jail, 'SIGKILL');
    await using instance = await starting;
    if (failed()) assert.equal((await runScript(instance, 'echo again')).stdout, 'again\n');
  }
});

test('opening the driver removes what an earlier one left, and templates that nobody can use any more', async () => {
  const left = join(folder.stateDir, 'tmp', 'left');
  const stale = join(folder.stateDir, 'templates', '0123456789abcdef');
  await mkdir(left, { recursive: true });
  await mkdir(stale, { recursive: true });
  await using bench = await folder.open();
  await bench.driver.warm();
  assert.deepEqual(await readdir(join(folder.stateDir, 'tmp')), []);
  assert.ok(!(await readdir(join(folder.stateDir, 'templates'))).includes('0123456789abcdef'));
});

test('an engine that is killed takes its microVMs with it, at whatever moment', async () => {
  const [layer] = folder.layers;
  const holder = join(import.meta.dirname, '../support/processes/microvm-holder.ts');
  const jails = (): Promise<number[]> => jailPids(folder.stateDir);
  const qemus = (): Promise<number[]> => qemuPids(folder.stateDir);
  // The holder boots one microVM after the other, so each of these states comes again.
  const moments: Readonly<Record<string, (booted: readonly number[]) => Promise<boolean>>> = {
    'while a microVM ends': async () => true,
    'between two microVMs': async () => (await jails()).length === 0,
    'when bubblewrap has started': async () => (await jails()).length > 0 && (await qemus()).length === 0,
    'when the next QEMU has started': async (booted) => (await qemus()).some((pid) => !booted.includes(pid)),
  };
  for (const [moment, reached] of Object.entries(moments)) {
    const args = [holder, folder.stateDir, layer!.path, String(layer!.bytes)];
    const engine = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(engine.stdout, 'data');
    const booted = await qemus();
    await until(() => reached(booted));
    engine.kill('SIGKILL');
    await once(engine, 'exit');
    await until(async () => (await qemus()).length === 0);
    // A child that bubblewrap has made but not yet released runs nothing; the next driver ends it.
    await using bench = await folder.open();
    await bench.driver.warm();
    assert.equal(await bench.live(), 0, `killed ${moment}`);
  }
});

test('a host without guest, or without KVM where it is demanded, is told what to do', async () => {
  const empty = await mkdtemp(join(tmpdir(), 'contree-empty-'));
  for (const options of [{ guestDir: empty }, { accelerator: 'kvm' as const }]) {
    await using bench = await folder.open(options);
    const checks = await bench.driver.inspect(soon());
    const microvm = checks.find(({ name }) => name === 'microVM');
    // A host with KVM has nothing to report.
    if (microvm === undefined) continue;
    assert.equal(microvm.status, 'failed');
    await assert.rejects(bench.driver.start(bootSpec(bench.layers), soon()), (error) =>
      isFault(error, 'DRIVER_UNAVAILABLE'),
    );
  }
  await rm(empty, { recursive: true });
});
