import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, readFile, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { isFault } from '../../../src/contract/errors.ts';
import { findRunsc } from '../../../src/sandbox/gvisor/runsc.ts';

const soon = (): AbortSignal => AbortSignal.timeout(60_000);

async function folders(): Promise<{ readonly first: string; readonly second: string } & AsyncDisposable> {
  const folder = await realpath(await mkdtemp(join(tmpdir(), 'contree-runsc-')));
  const [first, second] = [join(folder, 'first'), join(folder, 'second')];
  await Promise.all([first, second].map((path) => mkdir(path)));
  return { first, second, [Symbol.asyncDispose]: () => rm(folder, { recursive: true }) };
}

async function shellScript(path: string, script: string): Promise<void> {
  await writeFile(path, `#!/bin/sh\n${script}\n`);
  await chmod(path, 0o755);
}

async function program(path: string, says: string): Promise<void> {
  await shellScript(path, `echo '${says}'`);
}

test('a host without runsc says what to install', async () => {
  await using found = await folders();
  await assert.rejects(findRunsc({ path: found.first, guestDir: found.second }, soon()), (error) => {
    assert.ok(isFault(error, 'DRIVER_UNAVAILABLE'));
    assert.match(String(error.detail['reason']), /no runsc/u);
    assert.match(String(error.detail['remedy']), /install gVisor/u);
    return true;
  });
});

test('runsc is found on the path first, then beside the guest, with what it came with', async () => {
  await using here = await folders();
  const { first, second } = here;
  await program(join(second, 'runsc'), 'runsc version VERSION_MISSING');
  const { found: own } = await findRunsc({ path: first, guestDir: second }, soon());
  assert.deepEqual([own.path, own.sidecars], [join(second, 'runsc'), {}]);
  assert.match(own.version, /^built from its module/u);
  await program(join(first, 'runsc'), 'runsc version release-20260831.0');
  await mkdir(join(first, 'gvisor-bin'));
  await program(join(first, 'gvisor-bin/gvisor_sentry'), '');
  const { found: installed, rejected } = await findRunsc({ path: `relative:${first}`, guestDir: second }, soon());
  assert.deepEqual([installed.version, rejected], ['release-20260831.0', []]);
  assert.deepEqual(installed.sidecars, { sentry: join(first, 'gvisor-bin/gvisor_sentry') });
  assert.notEqual(installed.identity, own.identity);
});

test('one on the path that is old, of unknown age or broken is passed over, and why is said', async () => {
  const unusable: readonly (readonly [script: string, reason: RegExp])[] = [
    ['echo runsc version release-20230104.0', /first\/runsc is release-20230104\.0, not of 20260824 or later$/u],
    ['echo runsc version 0.0~20221219.0-1', /is 0\.0~20221219\.0-1, not of/u],
    ['echo runsc version VERSION_MISSING', /is built from its module without a version, not of/u],
    ['echo usage: runsc', /prints no version of runsc$/u],
    ['echo no such system call >&2; exit 3', /failed: no such system call$/u],
  ];
  for (const [script, reason] of unusable) {
    await using here = await folders();
    const { first, second } = here;
    await shellScript(join(first, 'runsc'), script);
    await assert.rejects(findRunsc({ path: first }, soon()), (error) => {
      assert.ok(isFault(error, 'DRIVER_UNAVAILABLE'));
      assert.match(String(error.detail['reason']), /^no runsc can be used: /u);
      assert.match(String(error.detail['reason']), reason);
      assert.match(String(error.detail['remedy']), /install gVisor/u);
      return true;
    });
    await program(join(second, 'runsc'), 'runsc version release-20260831.0');
    for (const places of [{ path: `${first}:${second}` }, { path: first, guestDir: second }]) {
      const { found, rejected } = await findRunsc(places, soon());
      assert.deepEqual([found.path, rejected.length], [join(second, 'runsc'), 1]);
      assert.match(rejected[0] ?? '', reason);
    }
  }
});

test('one that does not answer is ended and passed over', async () => {
  await using here = await folders();
  const { first, second } = here;
  await shellScript(join(first, 'runsc'), `echo $$ > ${first}/pid; exec sleep 86400`);
  await program(join(second, 'runsc'), 'runsc version release-20260831.0');
  const { found, rejected } = await findRunsc({ path: first, guestDir: second, answerMsMax: 3_000 }, soon());
  assert.equal(found.path, join(second, 'runsc'));
  assert.deepEqual(rejected, [`${first}/runsc failed: no answer within 3 s`]);
  const pid = Number(await readFile(join(first, 'pid'), 'utf8'));
  assert.throws(() => process.kill(pid, 0), { code: 'ESRCH' });
});
