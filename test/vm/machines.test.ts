import assert from 'node:assert/strict';
import { readdir, readlink, stat } from 'node:fs/promises';
import { after, test } from 'node:test';
import { bootSpec, microvmFolder, runScript } from '../support/microvm.ts';

const folder = await microvmFolder();
after(() => folder[Symbol.asyncDispose]());

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

/** Bytes of the host's memory in the sealed files of loaded templates. */
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
    assert.ok((await templateMemory()) > 860 * 1024 ** 2, 'the file of the template has grown');
  }
  assert.ok((await templateMemory()) < 200 * 1024 ** 2, 'and was replaced');
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
