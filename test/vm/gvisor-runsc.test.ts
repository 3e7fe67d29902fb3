import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { chmod, copyFile, mkdtempDisposable, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { command } from '../../scripts/support/command.ts';
import { gvisorFolder, sentryPids } from '../support/gvisor.ts';
import { bootSpec, GUEST_DIR, runScript } from '../support/microvm.ts';

test('the runsc that setup left in guest/dist runs, and is the one that the record names', async () => {
  const record = join(GUEST_DIR, 'runsc.json');
  assert.equal(existsSync(join(GUEST_DIR, 'runsc')), existsSync(record), 'both are there or neither is');
  if (!existsSync(record)) return;
  const { version } = JSON.parse(await readFile(record, 'utf8')) as { version: string };
  assert.match(await command(join(GUEST_DIR, 'runsc'), ['--version']), new RegExp(`^runsc version ${version}$`, 'mu'));
});

test('a runsc that runs no program is passed over for the next, which doctor tells and the next engine remembers', async () => {
  if (!existsSync(join(GUEST_DIR, 'runsc'))) return;
  await using broken = await mkdtempDisposable(join(tmpdir(), 'contree-broken-'));
  await writeFile(join(broken.path, 'runsc'), '#!/bin/sh\necho runsc version release-20260921.0\n');
  await chmod(join(broken.path, 'runsc'), 0o755);
  await chmod(broken.path, 0o755);
  await using folder = await gvisorFolder();
  const ran = async (): Promise<string> => {
    await using bench = await folder.open({ path: broken.path });
    await using instance = await bench.driver.start(bootSpec(bench.layers), AbortSignal.timeout(240_000));
    assert.equal((await runScript(instance, 'echo ran')).stdout, 'ran\n');
    return readFile(join(folder.stateDir, 'trial.json'), 'utf8');
  };
  const told = (await ran()).replace('no program runs', 'it is remembered that no program runs');
  await writeFile(join(folder.stateDir, 'trial.json'), told);
  assert.equal(await ran(), told, 'the broken one is not tried again');
  await using bench = await folder.open({ path: broken.path });
  const [check] = await bench.driver.inspect(AbortSignal.timeout(240_000));
  assert.equal(check?.status, 'ok');
  const { detail } = check;
  assert.ok(
    detail.startsWith(`runsc `) && detail.includes(`(${join(GUEST_DIR, 'runsc')}): a program ran in it`),
    detail,
  );
  assert.match(detail, /; \S+\/runsc \(release-20260921\.0\): no program runs in it: the sandbox ended: /u);
});

test('a runsc and a helper in a folder that only their owner may enter run as another user', async () => {
  if (!existsSync(join(GUEST_DIR, 'runsc'))) return;
  // Its mode is 0700, as that of a home.
  await using home = await mkdtempDisposable(join(tmpdir(), 'contree-home-'));
  for (const name of await readdir(GUEST_DIR)) {
    const [from, to] = [join(GUEST_DIR, name), join(home.path, name)];
    await (['runsc', 'contree-host-helper'].includes(name) ? copyFile(from, to) : symlink(from, to));
  }
  await using folder = await gvisorFolder();
  await using bench = await folder.open({ guestDir: home.path, path: '' });
  await using instance = await bench.driver.start(bootSpec(bench.layers), AbortSignal.timeout(240_000));
  assert.equal((await runScript(instance, 'echo ran')).stdout, 'ran\n');
  // Only root runs it as another user.
  if (process.getuid?.() !== 0) return;
  const [sandbox] = await sentryPids(folder.stateDir);
  const [own, used] = await Promise.all([join(home.path, 'runsc'), `/proc/${sandbox}/exe`].map((path) => stat(path)));
  assert.deepEqual([used?.dev, used?.ino], [own?.dev, own?.ino], 'it is the file itself, no copy of it');
});
