import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { networkTests } from '../conformance/network.ts';
import { bootSpec, microvmFolder, runScript } from '../support/microvm.ts';

const folder = await microvmFolder();
after(() => folder[Symbol.asyncDispose]());

networkTests('microVM', folder);

// A guest of gVisor can send no frame of its own making.
test('a frame of nonsense ends neither the run nor the engine', async () => {
  await using bench = await folder.open();
  await using instance = await bench.driver.start(
    bootSpec(bench.layers, { network: { mode: 'public' } }),
    AbortSignal.timeout(120_000),
  );
  // Any packet the guest may build itself: wrong lengths, unknown protocols, forged addresses.
  const script =
    'ip link set eth0 address 02:11:22:33:44:55; for i in 1 2 3; do arping -c 1 -w 1 -I eth0 10.0.0.1; done; echo alive';
  assert.match((await runScript(instance, script)).stdout, /alive\n$/u);
  assert.ok(instance.networkUse().dropped > 0);
});
