import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, realpath, rm, writeFile } from 'node:fs/promises';
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

async function program(path: string, says: string): Promise<void> {
  await writeFile(path, `#!/bin/sh\necho '${says}'\n`);
  await chmod(path, 0o755);
}

test('a host without runsc says what to install', async () => {
  await using found = await folders();
  await assert.rejects(findRunsc(found.first, found.second, soon()), (error) => {
    assert.ok(isFault(error, 'DRIVER_UNAVAILABLE'));
    assert.match(String(error.detail['reason']), /no runsc/u);
    assert.match(String(error.detail['remedy']), /install gVisor/u);
    return true;
  });
});

test('runsc is found on the path first, then beside the guest, with what it came with', async () => {
  await using found = await folders();
  await program(join(found.second, 'runsc'), 'runsc version VERSION_MISSING');
  const own = await findRunsc(found.first, found.second, soon());
  assert.deepEqual([own.path, own.version, own.sidecars], [join(found.second, 'runsc'), 'built from its module', {}]);
  await program(join(found.first, 'runsc'), 'runsc version release-20260831.0');
  await mkdir(join(found.first, 'gvisor-bin'));
  await program(join(found.first, 'gvisor-bin/gvisor_sentry'), '');
  const installed = await findRunsc(`relative:${found.first}`, found.second, soon());
  assert.equal(installed.version, 'release-20260831.0');
  assert.deepEqual(installed.sidecars, { sentry: join(found.first, 'gvisor-bin/gvisor_sentry') });
  assert.notEqual(installed.identity, own.identity);
});
