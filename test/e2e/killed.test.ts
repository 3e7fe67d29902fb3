import assert from 'node:assert/strict';
import { readdir, readFile, realpath, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { OperationSummary } from '../../src/contract/operation.ts';
import { executed, opened } from '../conformance/instances.ts';
import { cliHome, ROOT, type CliHome } from '../support/home.ts';
import { jailPids } from '../support/microvm.ts';
import { FakeRegistry } from '../support/servers/registry.ts';
import { addBusybox, busyboxMembers, layerOfMembers } from '../support/small-image.ts';
import { until } from '../support/time/until.ts';

/*
 * A real engine with real guests, killed (SIGKILL) before every step of a saved run and of an import. Each time, the
 * next engine must find an intact store, end the unfinished operations with a reason, and leave nothing of the killed
 * one.
 */

const SWITCH = join(ROOT, 'test/support/processes/kill-switch.ts');
/** More steps than either has. */
const STEPS_MAX = 80;

let home: CliHome;
let registry: FakeRegistry;
let order: string;
let env: Readonly<Record<string, string>>;

before(async () => {
  registry = await FakeRegistry.start();
  await addBusybox(registry, 'base');
  home = await cliHome();
  order = join(home.dataDir, 'kill-at');
  env = { NODE_OPTIONS: `--import=${SWITCH}`, CONTREE_TEST_KILL: order };
  await home.json(['import', url('base'), '--tag', 'base'], { env });
  assert.equal((await home.run(['run', '--disposable', 'tag:base', '--', 'true'], { env })).code, 0);
});

after(async () => {
  await home[Symbol.asyncDispose]();
  await registry[Symbol.asyncDispose]();
});

function url(name: string): string {
  return `docker://${registry.host}/team/app:${name}`;
}

/**
 * Possible remains of a killed engine: jails with QEMU, unfinished files. The next engine has such files too, for a
 * moment, while it starts its driver.
 */
async function leftovers(): Promise<string[]> {
  const stateDir = await realpath(join(home.dataDir, 'microvm'));
  const found = (await jailPids(stateDir)).map((pid) => `jail ${pid}`);
  for (const folder of ['tmp', 'microvm/tmp']) found.push(...(await readdir(join(home.dataDir, folder))));
  return found.filter((name) => name !== 'padding');
}

async function operations(): Promise<OperationSummary[]> {
  return home.json(['ops', '--limit', '1000'], { env });
}

/** Checks the state after the engine was killed during the newest operation. Returns how that operation ended. */
async function assertWhole(label: string): Promise<OperationSummary> {
  // Starts the next engine.
  const all = await operations();
  let left: string[] = [];
  await until(async () => {
    left = await leftovers();
    return left.length === 0;
  }).catch((cause: unknown) => assert.fail(new Error(`${label}: ${left.join(', ')}`, { cause })));
  const [newest] = all;
  assert.ok(newest, label);
  assert.deepEqual(
    all.filter(({ status }) => !['SUCCESS', 'FAILED'].includes(status)),
    [],
    label,
  );
  if (newest.status === 'FAILED') assert.match(newest.error ?? '', /engine stopped/u, label);
  const { result_image_uuid: image } = newest;
  if (image !== null)
    assert.equal((await home.run(['cat', image, '/etc/group'], { env })).stdout, 'root:x:0:\n', label);
  return newest;
}

/** Kills the engine before step 1, 2, … of `work`, until there are no more steps. */
async function killedEverywhere(work: () => Promise<unknown>): Promise<{ steps: string[]; failed: number }> {
  let failed = 0;
  for (let at = 1; at < STEPS_MAX; at += 1) {
    await rm(`${order}.steps`, { force: true });
    await writeFile(order, String(at));
    await work();
    await rm(order, { force: true });
    const steps = (await readFile(`${order}.steps`, 'utf8')).trim().split('\n');
    const { status } = await assertWhole(`killed before step ${at} of ${steps.join(' ')}`);
    if (status === 'FAILED') failed += 1;
    if (steps.length < at) {
      assert.equal(status, 'SUCCESS', 'it was left in peace');
      const checked = await home.run(['doctor', '--verify'], { env });
      assert.equal(checked.code, 0, checked.stdout);
      // The step numbers continue from here.
      await home.run(['engine', 'stop'], { env });
      return { steps, failed };
    }
  }
  throw new Error('there were too many steps');
}

test('30: an engine killed before any step of a run or its commit leaves a whole store, no process, no file, and the reason', async () => {
  const script = 'echo kept > /kept; dd if=/dev/urandom of=/data bs=1M count=3 2> /dev/null; echo said';
  const { steps, failed } = await killedEverywhere(() =>
    home.run(['run', '--keep', 'tag:base', '--', script], { env, timeoutMs: 60_000 }),
  );
  assert.ok(
    steps.includes('spawn') && steps.includes('rename') && steps.includes('sync') && failed > 5,
    `${failed} of ${steps.join(' ')}`,
  );
});

test('30: an engine killed before any step of an import leaves a whole store, no file, and the reason', async () => {
  let round = 0;
  const { steps, failed } = await killedEverywhere(async () => {
    round += 1;
    const members = [...(await busyboxMembers()), { path: 'etc/round', content: String(round) }];
    registry.addImage([layerOfMembers(members)], { tag: `again-${round}` });
    await home.run(['import', url(`again-${round}`), '--tag', 'again'], { env, timeoutMs: 60_000 });
  });
  assert.ok(steps.includes('sync') && failed > 3, `${failed} of ${steps.join(' ')}`);
});

test('an engine killed with an instance open: its last snapshot is there, and nothing of it is left', async () => {
  let kept = '';
  let uuid = '';
  {
    // Starts the engine.
    await operations();
    await using contree = await home.connect();
    uuid = await opened(contree, { image: 'tag:base' });
    await contree.processes.start(uuid, { command: 'sleep', args: ['600'] });
    await executed(contree, uuid, { command: 'echo kept > /kept', shell: true });
    const { image, changed } = await contree.instances.snapshot(uuid);
    assert.equal(changed, true);
    kept = image;
    await executed(contree, uuid, { command: 'echo lost > /lost', shell: true });
    const { pid } = await contree.engine.status();
    process.kill(pid, 'SIGKILL');
  }
  const newest = await assertWhole('with an instance open');
  assert.deepEqual([newest.uuid, newest.status, newest.result_image_uuid], [uuid, 'FAILED', kept]);
  assert.equal((await home.run(['cat', kept, '/kept'], { env })).stdout, 'kept\n');
  assert.notEqual((await home.run(['cat', kept, '/lost'], { env })).code, 0);
});
