import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { mkdtempDisposable } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { kernelBuild } from '../../scripts/guest/kernel.ts';
import { cachedPackage, downloadName, hasUpdate } from '../../scripts/guest/updates.ts';
import { guestCheck } from '../../src/sandbox/microvm/host/inspect.ts';

const META = 'linux-image-cloud-amd64';
const PACKAGE = 'linux-image-6.1.0-57-cloud-amd64';

/** Runs `body` with an apt that knows this version of the kernel, or none, as before the lists were fetched. */
async function withApt(version: string | undefined, body: () => void): Promise<void> {
  await using folder = await mkdtempDisposable(join(tmpdir(), 'contree-apt-'));
  const policy = version === undefined ? 'exit 100' : `echo '  Candidate: ${version}'`;
  const depends = version === undefined ? 'exit 100' : `echo '  Depends: ${PACKAGE}'`;
  const program = join(folder.path, 'apt-cache');
  writeFileSync(program, `#!/bin/sh\ncase $1 in policy) ${policy} ;; depends) ${depends} ;; esac\n`);
  chmodSync(program, 0o755);
  const { PATH } = process.env;
  process.env['PATH'] = `${folder.path}:${PATH}`;
  try {
    body();
  } finally {
    process.env['PATH'] = PATH;
  }
}

test('a newer version of the kernel is an update although the package has the same name', async () => {
  const kept: string[] = [];
  const keep = (reason: string): void => void kept.push(reason);
  await withApt('6.1.192-4', () => {
    assert.equal(hasUpdate(META, '6.1.192-3', keep), true);
    assert.equal(hasUpdate(META, '6.1.192-4', keep), false);
    assert.equal(hasUpdate(META, '6.1.192-10', keep), false, 'versions are not compared as text');
    assert.equal(hasUpdate(META, undefined, keep), false, 'a kernel that does not name its version');
    assert.equal(downloadName(PACKAGE), `${PACKAGE}_6.1.192-4`, 'and it is not taken for an earlier download');
  });
  assert.deepEqual(kept, []);
});

test('what cannot be looked up is said once, and the kernel is kept', async () => {
  const kept: string[] = [];
  await withApt(undefined, () => {
    assert.equal(
      hasUpdate(META, '6.1.192-3', (reason) => void kept.push(reason)),
      false,
    );
  });
  assert.deepEqual(kept, [`apt knows no package ${META}`]);
});

test('without a network the download of last time will do, unless it was interrupted', async () => {
  await using cache = await mkdtempDisposable(join(tmpdir(), 'contree-cache-'));
  assert.equal(cachedPackage(cache.path), undefined);
  for (const [name, day] of [
    ['linux-image-6.1.0-56-cloud-amd64', 1],
    [PACKAGE, 2],
    [`${PACKAGE}_6.1.192-4.partial`, 3],
  ] as const) {
    mkdirSync(join(cache.path, name));
    utimesSync(join(cache.path, name), new Date(2026, 0, day), new Date(2026, 0, day));
  }
  assert.equal(cachedPackage(cache.path), join(cache.path, PACKAGE));
});

test('the version of the kernel and its day come from the kernel itself', () => {
  const banner = 'xLinux version 6.1.0-57-cloud-amd64 (x@y) (gcc) #1 SMP Debian 6.1.192-3 (2026-11-26)\n(2020-01-01)';
  assert.deepEqual(kernelBuild(Buffer.from(banner)), { version: '6.1.192-3', date: '2026-11-26' });
  assert.equal(kernelBuild(Buffer.from('Linux version 6.9.0 (me@here) #1 SMP\n')), undefined);
  assert.equal(kernelBuild(Buffer.from('Debian 1 (2026-11-26)')), undefined);
  const dist = join(import.meta.dirname, '../../guest/dist');
  const { build } = JSON.parse(readFileSync(join(dist, 'manifest.json'), 'utf8')) as { build?: object };
  assert.deepEqual(build, kernelBuild(readFileSync(join(dist, 'vmlinux'))));
});

test('doctor tells how old the kernel of guests is, and warns of an old one', () => {
  const kernel = '6.1.0-57-cloud-amd64';
  const guest = { kernel, build: { version: '6.1.192-3', date: '2026-11-26' } };
  const check = guestCheck(guest, Date.parse('2026-11-30T12:00:00Z'));
  assert.deepEqual(
    [check.status, check.detail],
    ['ok', `Linux ${kernel}, version 6.1.192-3 of 2026-11-26, 4 days old`],
  );
  const old = guestCheck(guest, Date.parse('2027-03-01T00:00:00Z'));
  assert.equal(old.status, 'warning');
  assert.match(old.detail, /95 days old$/u);
  assert.match(old.remedy ?? '', /guest\/build/u);
  assert.equal(guestCheck({ kernel, build: undefined }, 0).status, 'ok');
});
