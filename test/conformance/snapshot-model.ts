import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { layerOf, Scratch } from '../support/layers.ts';
import { bootSpec, runScript } from '../support/microvm.ts';
import { fuzzRounds, Random } from '../support/random.ts';
import { tarOf } from '../support/tar.ts';
import {
  guestListing,
  hostListing,
  type Line,
  type ModelBench,
  randomCommand,
  randomMembers,
  rejoined,
  saved,
  soon,
  textsOf,
} from './saved-model.ts';

/*
 * The model of what is saved (saved-model.ts), with snapshots in between: after each of them the image with those that were
 * accepted lists what the guest does, and so does the image at the end, of which the last layer is a commit.
 */

const PIECES = 6;

async function checkSnapshots({ driver, layers: programs }: ModelBench, seed: number): Promise<void> {
  await using scratch = await Scratch.create();
  const random = new Random(seed);
  const layers = [...programs, await layerOf(scratch, tarOf(randomMembers(random)), programs)];
  const done: string[] = [];
  const check = (actual: readonly Line[], expected: readonly Line[], what: string): void =>
    assert.deepEqual(textsOf(actual), textsOf(expected), `seed ${seed}: ${what}\n${done.join('\n')}`);
  let before = await hostListing(layers);
  await using instance = await driver.start(bootSpec(layers), soon());
  for (let piece = 1; piece <= PIECES; piece += 1) {
    const place = { random, marks: seed % 3 === 0 };
    const commands = Array.from({ length: 5 }, (_, at) => randomCommand(place, 100 * piece + at));
    done.push(`# before snapshot ${piece}`, ...commands);
    await runScript(instance, commands.join('\n'));
    const seen = await guestListing(instance);
    const snapshot = piece < PIECES ? instance.snapshot(soon()) : undefined;
    const layer = await saved(scratch, snapshot?.changes ?? instance.changes(soon()), layers);
    const now = layer === undefined ? layers : [...layers, layer];
    const after = await hostListing(now);
    check(after, rejoined(seen, before), `what the guest saw is in snapshot ${piece}`);
    if (random.below(4) === 0) {
      done.push('# which was not accepted');
      continue;
    }
    snapshot?.accept();
    if (layer !== undefined) layers.push(layer);
    before = after;
  }
}

/** Declares the test of the model; `rounds` are those of every test run. */
export function snapshotModelTest(name: string, bench: ModelBench, rounds: number): void {
  test(`${name}: image and snapshots together are what the guest saw at each of them`, async (t: TestContext) => {
    const first = Number(process.env['CONTREE_MODEL_SEED'] ?? 1);
    t.diagnostic(`seeds ${first} to ${first + fuzzRounds(rounds) - 1}`);
    for (let seed = first; seed < first + fuzzRounds(rounds); seed += 1) await checkSnapshots(bench, seed);
  });
}
