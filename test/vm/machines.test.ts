import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
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
