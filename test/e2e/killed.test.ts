import assert from 'node:assert/strict';
import { readdir, readFile, realpath, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { OperationResponse, OperationSummary } from '../../src/contract/operation.ts';
import { executed, opened } from '../conformance/instances.ts';
import { hasRunsc } from '../support/gvisor.ts';
import { cliHome, ROOT, type CliHome } from '../support/home.ts';
import { tracesOf } from '../support/sandboxes/traces.ts';
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
 * Possible remains of a killed engine: jails and what runs in them, control groups, unfinished files. The next engine has
 * such files too, for a moment, while it starts its drivers.
 */
async function leftovers(): Promise<string[]> {
  const found: string[] = [];
  for (const name of await readdir(home.dataDir)) {
    if (!['microvm', 'gvisor'].includes(name)) continue;
    const { processes, cgroups } = await tracesOf(await realpath(join(home.dataDir, name)));
    found.push(...processes, ...cgroups);
    found.push(...(await readdir(join(home.dataDir, name, 'tmp'))));
  }
  found.push(...(await readdir(join(home.dataDir, 'tmp'))));
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

test('an engine killed with instances open: the last image of each is there, and nothing of them is left', async () => {
  const sandboxes = (await hasRunsc()) ? (['microvm', 'gvisor'] as const) : (['microvm'] as const);
  // Starts the engine.
  await operations();
  const open: { readonly uuid: string; readonly sandbox: string; readonly image: string; readonly port: number }[] = [];
  {
    await using contree = await home.connect();
    for (const sandbox of sandboxes) {
      const request = { image: 'tag:base', sandbox, publish: [{ port: 8_000 }], checkpoint: { commands: 2 } };
      const uuid = await opened(contree, request);
      await contree.processes.start(uuid, { command: 'httpd', args: ['-f', '-p', '127.0.0.1:8000', '-h', '/etc'] });
      await executed(contree, uuid, { command: `echo ${sandbox} > /kept`, shell: true });
      await executed(contree, uuid, { command: 'true' });
      let image = '';
      for await (const event of contree.operations.events(uuid, { follow: true })) {
        if (event.type !== 'snapshot') continue;
        image = event.data.image ?? assert.fail(event.data.error);
        break;
      }
      await executed(contree, uuid, { command: 'echo lost > /lost', shell: true });
      const port = (await contree.instances.get(uuid)).ports[0]?.host_port ?? assert.fail();
      await until(() => answers(port));
      open.push({ uuid, sandbox, image, port });
    }
    const { pid } = await contree.engine.status();
    process.kill(pid, 'SIGKILL');
  }
  await assertWhole('with instances open');
  for (const { uuid, sandbox, image, port } of open) {
    const { status, error_code: code, result_image_uuid: result } = await home.json<OperationResponse>(['show', uuid]);
    assert.deepEqual([status, code, result], ['FAILED', 'ENGINE_STOPPED', image], sandbox);
    assert.equal((await home.run(['cat', image, '/kept'], { env })).stdout, `${sandbox}\n`);
    assert.notEqual((await home.run(['cat', image, '/lost'], { env })).code, 0);
    assert.equal(await answers(port), false, `${sandbox}: its port is closed`);
  }
});

/** Reports whether a web server answers at a port of this machine. */
function answers(port: number): Promise<boolean> {
  return fetch(`http://127.0.0.1:${port}/group`).then(
    ({ ok }) => ok,
    () => false,
  );
}
