import assert from 'node:assert/strict';
import { readdir, readlink, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { Instance } from '../../src/sandbox/driver.ts';
import { bootSpec, microvmFolder, runScript } from '../support/microvm.ts';

const folder = await microvmFolder();
after(() => folder[Symbol.asyncDispose]());

const MIB = 1024 ** 2;
const soon = (): AbortSignal => AbortSignal.timeout(240_000);

test('one template serves many runs at once', async () => {
  await using bench = await folder.open();
  await bench.driver.warm();
  const runs = Array.from({ length: 8 }, async (_, index) => {
    await using instance = await bench.driver.start(bootSpec(bench.layers, { hostname: `box${index}` }), soon());
    return (await runScript(instance, 'hostname; echo x > /same; cat /same')).stdout;
  });
  assert.deepEqual(
    await Promise.all(runs),
    Array.from({ length: 8 }, (_, index) => `box${index}\nx\n`),
  );
  assert.equal(await bench.live(), 0);
});

test('more kinds of machine than are kept loaded may be used at the same time', async () => {
  await using bench = await folder.open();
  const sizes = [128, 144, 160, 176, 192];
  const found = await Promise.all(
    sizes.map(async (memoryMib) => {
      await using instance = await bench.driver.start(bootSpec(bench.layers, { memoryMib }), soon());
      return Number((await runScript(instance, "free -m | awk 'NR == 2 { print $2 }'")).stdout);
    }),
  );
  for (const [index, mib] of found.entries()) assert.ok(mib > sizes[index]! - 60 && mib <= sizes[index]!, `${mib} MiB`);
});

/** Returns the bytes of host memory in the sealed files of loaded templates. */
async function templateMemory(): Promise<number> {
  const files = (await readdir('/proc/self/fd')).map((name) => `/proc/self/fd/${name}`);
  const taken = files.map(async (path) => {
    const target = await readlink(path).catch(() => '');
    return target.startsWith('/memfd:contree') ? (await stat(path)).blocks * 512 : 0;
  });
  return (await Promise.all(taken)).reduce((sum, bytes) => sum + bytes, 0);
}

test('a guest may use the memory it was promised, from the first run on, and gives it back', async () => {
  await using bench = await folder.open();
  {
    await using instance = await bench.driver.start(bootSpec(bench.layers, { cpus: 2 }), soon());
    const { outcome, stderr } = await runScript(instance, 'dd if=/dev/zero of=/dev/null bs=860M count=1');
    assert.equal(outcome.exitCode, 0, stderr);
    assert.ok((await templateMemory()) > 860 * MIB, 'the file of the template has grown');
  }
  assert.ok((await templateMemory()) < 200 * MIB, 'and was replaced');
});

test('a template that is never idle is replaced once guests have touched half of its memory', async () => {
  await using bench = await folder.open();
  const start = (): Promise<Instance> => bench.driver.start(bootSpec(bench.layers, { memoryMib: 192 }), soon());
  const first = await start();
  {
    await using other = await start();
    const { outcome, stderr } = await runScript(other, 'dd if=/dev/zero of=/dev/null bs=110M count=1');
    assert.equal(outcome.exitCode, 0, stderr);
  }
  const grown = await templateMemory();
  await using second = await start();
  assert.ok((await templateMemory()) > grown, 'there are two copies: the first guest still has the old one');
  assert.equal((await runScript(first, 'echo here')).stdout, 'here\n');
  await first[Symbol.asyncDispose]();
  assert.ok((await templateMemory()) < grown - 90 * MIB, 'what guests touched came back with the last of them');
  assert.equal((await runScript(second, 'echo here')).stdout, 'here\n');
});

test('collect() releases templates that no run uses: memory, and files of unusual sizes', async () => {
  await using bench = await folder.open();
  const { driver } = bench;
  const all = { memoryUnusedSinceMs: Infinity, filesUnusedSinceMs: Infinity };
  const made = async (): Promise<number> => (await readdir(join(bench.stateDir, 'templates'))).length;
  {
    await using other = await driver.start(bootSpec(bench.layers, { memoryMib: 128 }), soon());
    await driver.warm();
    const before = [await made(), await templateMemory()];
    const { templates, freed, used } = await driver.collect({ ...all, dryRun: true });
    assert.deepEqual([await made(), await templateMemory()], before, 'a dry run releases nothing');
    assert.ok(freed.memoryBytes > 50 * MIB && used.memoryBytes > 10 * MIB, JSON.stringify({ freed, used }));
    assert.equal(templates, before[0]! - 1, 'one is in use');
    assert.deepEqual(await driver.collect({ ...all, dryRun: false }), { templates, freed, used });
    assert.equal(await templateMemory(), used.memoryBytes, 'what is in use stays');
    assert.equal(await made(), 2, 'the files of the usual template and of that in use stay');
    assert.equal((await runScript(other, 'echo here')).stdout, 'here\n');
  }
  const { freed, used } = await driver.collect({ ...all, dryRun: false });
  assert.ok(freed.memoryBytes > 10 * MIB && freed.diskBytes > 10 * MIB, JSON.stringify(freed));
  assert.deepEqual([used.memoryBytes, await templateMemory(), await made()], [0, 0, 1]);
  await using _next = await driver.start(bootSpec(bench.layers), soon());
});

test('runs leave no descriptor behind in the engine', async () => {
  await using bench = await folder.open();
  const count = async (): Promise<number> => (await readdir('/proc/self/fd')).length;
  const once = async (): Promise<void> => {
    await using instance = await bench.driver.start(bootSpec(bench.layers, { network: { mode: 'public' } }), soon());
    await runScript(instance, 'true');
  };
  await once();
  const before = await count();
  for (let index = 0; index < 5; index += 1) await once();
  assert.ok((await count()) <= before, 'open descriptors');
});
