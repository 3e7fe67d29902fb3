import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readdir, readFile, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { type ContreeError, isFault } from '../../../src/contract/errors.ts';
import { openGvisorDriver, type TriedDriver } from '../../../src/sandbox/gvisor/driver.ts';
import { openGvisorPlatform } from '../../../src/sandbox/gvisor/platform.ts';
import { startSandbox } from '../../../src/sandbox/gvisor/start.ts';
import { Identities } from '../../../src/sandbox/host/identity.ts';
import { bootSpec, GUEST_DIR, jailPids } from '../../support/microvm.ts';

const soon = (): AbortSignal => AbortSignal.timeout(240_000);
const NEW_VERSION = 'runsc version release-20260921.0';

/** A program that prints a new version and then, in a sandbox, never does anything. No shell is there to run a script. */
const HANGING = `#include <stdio.h>
#include <string.h>
#include <unistd.h>
int main(int argc, char **argv) {
  if (argc > 1 && strcmp(argv[1], "--version") == 0) return puts("${NEW_VERSION}") < 0;
  for (;;) pause();
}`;

/** A machine whose only runsc, if any, is the one that a test puts on its path. */
interface Machine extends AsyncDisposable {
  readonly path: string;
  readonly guestDir: string;
  readonly stateDir: string;
}

async function machine(runsc?: { readonly script: string } | { readonly c: string }): Promise<Machine> {
  const folder = await realpath(await mkdtemp(join(tmpdir(), 'contree-no-gvisor-')));
  const [path, guestDir, stateDir] = ['path', 'guest', 'state'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  for (const name of [path, guestDir, join(stateDir, 'tmp')]) await mkdir(name, { recursive: true });
  for (const name of await readdir(GUEST_DIR)) {
    if (!/^(?:runsc|gvisor-bin)/u.test(name)) await symlink(join(GUEST_DIR, name), join(guestDir, name));
  }
  const file = join(path, 'runsc');
  if (runsc !== undefined && 'script' in runsc) {
    await writeFile(file, `#!/bin/sh\n${runsc.script}\n`);
    await chmod(file, 0o755);
  } else if (runsc !== undefined) {
    await writeFile(`${file}.c`, runsc.c);
    await promisify(execFile)('cc', ['-static', '-o', file, `${file}.c`]);
  }
  return { path, guestDir, stateDir, [Symbol.asyncDispose]: () => rm(folder, { recursive: true }) };
}

async function faultOf(promise: Promise<unknown>): Promise<ContreeError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  assert.ok(isFault(error), String(error));
  return error;
}

/** Fault of a start and check of `doctor` on a machine on which gVisor does not work. */
async function answers(driver: TriedDriver) {
  const refusal = await faultOf(driver.start(bootSpec([]), soon()));
  const [check] = await driver.inspect(soon());
  assert.ok(check);
  return { refusal, check };
}

test('without runsc, or with one that is too old, a start and doctor say what to install', async () => {
  const machines = [
    { runsc: undefined, reason: /^this host has no runsc \(gVisor\)$/u },
    {
      runsc: { script: 'echo runsc version release-20230104.0' },
      reason: /^no runsc can be used: .*\/runsc is release-20230104\.0, not of 20260824 or later$/u,
    },
  ];
  for (const { runsc, reason } of machines) {
    await using here = await machine(runsc);
    await using driver = await openGvisorDriver(here);
    const { refusal, check } = await answers(driver);
    assert.equal(refusal.code, 'DRIVER_UNAVAILABLE');
    assert.match(String(refusal.detail['reason']), reason);
    assert.match(refusal.message, /install gVisor .*scripts\/setup/u);
    assert.equal(check.status, 'failed');
    assert.match(check.detail, reason);
    assert.match(check.remedy ?? '', /install gVisor .*scripts\/setup/u);
    assert.equal((await faultOf(driver.trial(soon()))).code, 'DRIVER_UNAVAILABLE');
  }
});

test('a runsc that fails in a sandbox is refused at once, tried once, and tried again by doctor', async () => {
  await using here = await machine({ script: `echo ${NEW_VERSION}` });
  await using driver = await openGvisorDriver(here);
  const verdict = await driver.trial(soon());
  assert.equal(verdict.works, false);
  assert.match(
    verdict.reason,
    /^no program runs in it: the sandbox ended: status 1; contree-host-helper: No such file/u,
  );
  const trial = join(here.stateDir, 'trial.json');
  const remembered = await readFile(trial, 'utf8');
  await writeFile(trial, remembered.replace('no program runs', 'it is remembered that no program runs'));
  assert.match((await driver.trial(soon())).reason, /^it is remembered/u);
  const [check] = await driver.inspect(soon());
  assert.equal(check?.status, 'failed');
  assert.match(check.detail, /release-20260921\.0 \(.*\): no program runs in it: the sandbox ended/u);
  assert.equal(await readFile(trial, 'utf8'), remembered);
  const { code, detail } = await faultOf(driver.start(bootSpec([]), soon()));
  assert.equal(code, 'DRIVER_UNAVAILABLE');
  assert.match(String(detail['reason']), /^the sandbox ended: status 1/u);
  assert.deepEqual(await jailPids(here.stateDir), []);
});

test('a runsc that hangs is given up after the time that the speed of the host allows, and nothing of it is left', async () => {
  await using here = await machine({ c: HANGING });
  const identities = await Identities.open(here.stateDir);
  await using platform = await openGvisorPlatform({ ...here, identities }, soon());
  assert.ok(platform.startMsMax >= 15_000, 'a usual start takes a fraction of a second');
  await using resources = new AsyncDisposableStack();
  const start = { spec: bootSpec([]), identity: undefined, network: {} };
  // It never starts, so any limit shows it.
  const begun = startSandbox({ ...platform, startMsMax: 1_000 }, start, resources, soon());
  assert.equal((await faultOf(begun)).code, 'GUEST_BOOT_TIMEOUT');
  await resources.disposeAsync();
  assert.deepEqual(await jailPids(here.stateDir), []);
});
