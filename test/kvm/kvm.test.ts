import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { command } from '../../scripts/support/command.ts';
import type { DoctorReport } from '../../src/contract/server.ts';
import type { OperationResponse } from '../../src/contract/operation.ts';
import { streamBytes } from '../../src/contract/stream.ts';
import { cliHome, type CliHome, MICROVMS, ROOT } from '../support/home.ts';
import { jailPids } from '../support/microvm.ts';
import { FakeRegistry } from '../support/servers/registry.ts';
import { addBusybox } from '../support/small-image.ts';

/* The product on KVM: `npm run test:kvm` boots a machine that has it and runs this file there. One story, in its order. */

/** Folder in which scripts/kvm/init leaves the modules of KVM, named in the order in which they are loaded. */
const MODULES = '/tmp/kvm';
/** Any group that is not root's, as distributions have `kvm`. */
const GROUP = 104;

let home: CliHome;
let image: string;

before(async () => {
  home = await cliHome();
});

after(async () => {
  await home[Symbol.asyncDispose]();
});

async function loadKvm(): Promise<void> {
  for (const name of (await readdir(MODULES)).toSorted()) await command('busybox', ['insmod', join(MODULES, name)]);
  await command('chgrp', [String(GROUP), '/dev/kvm']);
  await command('chmod', ['660', '/dev/kvm']);
}

async function unloadKvm(): Promise<void> {
  for (const name of (await readdir(MODULES)).toSorted().toReversed()) {
    await command('busybox', ['rmmod', name.replace(/^\d+-|\.ko$/gu, '')]);
  }
}

/** Starts the engine of `home` and waits for it without a deadline; disposing stops it. */
async function engine(sandbox = MICROVMS.CONTREE_DEFAULT_SANDBOX as string): Promise<AsyncDisposable> {
  const env = {
    ...process.env,
    CONTREE_DATA_DIR: home.dataDir,
    CONTREE_CONFIG: '/dev/null',
    CONTREE_DEFAULT_SANDBOX: sandbox,
  };
  const child = spawn(process.execPath, [join(ROOT, 'bin/contree'), 'engine', 'run', '--ready-fd=3'], {
    env,
    stdio: ['ignore', 'ignore', 'inherit', 'pipe'],
  });
  const ended = once(child, 'exit');
  const ready = child.stdio[3];
  assert.ok(ready);
  await Promise.race([
    once(ready, 'data'),
    ended.then(([code, signal]) => assert.fail(`the engine ended with ${code ?? signal}`)),
  ]);
  return {
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGTERM');
      await ended;
    },
  };
}

/** Returns the check of the accelerator by `contree doctor`, which boots a guest where KVM was never tried. */
async function accelerator(): Promise<DoctorReport['checks'][number]> {
  const { checks } = await home.json<DoctorReport>(['doctor'], { timeoutMs: 900_000 });
  const check = checks.find(({ name }) => name === 'accelerator');
  assert.ok(check, JSON.stringify(checks));
  return check;
}

/** Runs a shell script in the image and returns its operation. */
async function run(script: string, options: readonly string[] = []): Promise<OperationResponse> {
  return home.json<OperationResponse>(['run', ...options, image, '--', 'sh', '-c', script], { timeoutMs: 900_000 });
}

function printed({ metadata }: OperationResponse): string {
  assert.ok('result' in metadata && metadata.result?.stdout);
  return Buffer.from(streamBytes(metadata.result.stdout)).toString('latin1');
}

test('without kvm_amd guests are emulated, and doctor says why', async () => {
  await using _engine = await engine();
  const { status, detail } = await accelerator();
  assert.equal(status, 'warning');
  assert.match(detail, /^emulated: this host has no \/dev\/kvm$/u);
});

test('with kvm_amd a guest is booted, and doctor says that KVM is used', async () => {
  await loadKvm();
  await using _engine = await engine();
  const { status, detail } = await accelerator();
  assert.equal(status, 'ok', detail);
  assert.equal(detail, 'KVM: a guest was booted with it');
});

test('a run gets a microVM by itself, restored on KVM in the whole jail, and its changes become an image', async () => {
  await using _engine = await engine('auto');
  await using registry = await FakeRegistry.start();
  await addBusybox(registry, '1');
  const imported = await home.json<OperationResponse>(['import', `docker://${registry.host}/team/app:1`]);
  image = imported.result_image_uuid ?? '';
  const first = await run('dmesg | grep -o "Hypervisor detected: .*"; echo kept > /kept', ['--keep']);
  assert.equal(first.exit_code, 0);
  assert.equal(printed(first), 'Hypervisor detected: KVM\n');
  assert.deepEqual([first.execution?.sandbox, first.execution?.accelerator], ['microvm', 'kvm']);
  assert.deepEqual(first.execution?.jail.missing, []);
  assert.ok(first.result_image_uuid !== null && first.result_image_uuid !== image);
  image = first.result_image_uuid;
  const second = await run('cat /kept', ['--disposable']);
  assert.equal(printed(second), 'kept\n');
  assert.equal(second.result_image_uuid, null);
  assert.deepEqual(await jailPids(join(home.dataDir, 'microvm')), []);
});

test('an engine that used KVM emulates once kvm_amd is gone', async () => {
  await unloadKvm();
  await using _engine = await engine();
  const { detail } = await accelerator();
  assert.match(detail, /^emulated: this host has no \/dev\/kvm$/u);
});
