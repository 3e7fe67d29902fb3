import assert from 'node:assert/strict';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { mkdtempDisposable } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { Readable } from 'node:stream';
import { after, test } from 'node:test';
import { command } from '../../scripts/support/command.ts';
import { isFault } from '../../src/contract/errors.ts';
import { openGvisorDriver } from '../../src/sandbox/gvisor/driver.ts';
import { TarReader, type TarEntry } from '../../src/tar/reader.ts';
import type { Instance } from '../../src/sandbox/driver.ts';
import { collect } from '../../src/std/bytes.ts';
import { gvisorFolder, hasRunsc } from '../support/gvisor.ts';
import { imageOf, Scratch } from '../support/layers.ts';
import { bootSpec, GUEST_DIR, runScript } from '../support/microvm.ts';
import { busyboxMembers } from '../support/small-image.ts';
import { tracesOf } from '../support/sandboxes/traces.ts';

const MIB = 1024 ** 2;
const soon = (): AbortSignal => AbortSignal.timeout(60_000);
/** CAP_NET_RAW, permitted and effective (struct vfs_cap_data, version 2). */
const CAPABILITY = Buffer.from('0100000200200000000000000000000000000000', 'hex').toString('latin1');

async function changesOf(instance: Instance): Promise<Map<string, TarEntry>> {
  const tar = await collect(instance.changes(soon()), 64 * MIB);
  const found = new Map<string, TarEntry>();
  if (tar.length === 0) return found;
  const reader = new TarReader(Readable.from([tar]));
  for (let entry = await reader.next(); entry !== undefined; entry = await reader.next()) found.set(entry.path, entry);
  return found;
}

// Tests of what gVisor does, where there is one.
if (await hasRunsc()) {
  const folder = await gvisorFolder();
  const bench = await folder.open();
  after(async () => {
    await bench[Symbol.asyncDispose]();
    await folder[Symbol.asyncDispose]();
  });

  test('extended attributes and opaque folders of layers are there, and a run loses none of them', async () => {
    await using scratch = await Scratch.create();
    const marked = { 'SCHILY.xattr.security.capability': CAPABILITY, 'SCHILY.xattr.user.note': 'kept' };
    const layers = await imageOf(
      scratch,
      [
        ...(await busyboxMembers()),
        { path: 'old', flag: '5', mode: 0o755 },
        { path: 'old/hidden', content: 'x' },
        { path: 'old/deep', flag: '5', mode: 0o755 },
        { path: 'old/deep/hidden', content: 'x' },
      ],
      [
        { path: 'old/.wh..wh..opq' },
        { path: 'old/deep/new', content: 'n' },
        {
          path: 'own',
          flag: '5',
          mode: 0o2750,
          uid: 3,
          gid: 4,
          mtime: 1_000,
          pax: { 'SCHILY.xattr.user.on': 'folder' },
        },
        { path: 'own/tool', content: 'tool\n', mode: 0o755, uid: 5, mtime: 2_000, pax: marked },
        { path: 'own/again', flag: '1', linkname: 'own/tool' },
        { path: 'own/plain', content: 'plain\n' },
      ],
    );
    await using instance = await bench.driver.start(bootSpec(layers), soon());
    const plain = (await readdir(join(folder.stateDir, 'layers'))).map((name) => join(folder.stateDir, 'layers', name));
    const modes = await Promise.all(plain.map(async (path) => (await stat(path)).mode & 0o777));
    assert.deepEqual(modes, [0o444], "the run's user reads them, and nobody writes them");
    const seen = await runScript(
      instance,
      `find /old | sort; stat -c '%n %a %u %g %Y' /own; stat -c '%n %a %u %g %Y %h' /own/*; cat /own/tool /own/plain; touch /old/deep/later`,
    );
    const tree = ['/old', '/old/deep', '/old/deep/new', '/own 2750 3 4 1000'];
    const files = ['/own/again 755 5 0 2000 2', '/own/plain 644 0 0 0 1', '/own/tool 755 5 0 2000 2'];
    assert.deepEqual(seen.stdout.trim().split('\n'), [...tree, ...files, 'tool', 'plain']);
    assert.equal((await runScript(instance, 'chmod 700 /own/tool && chmod 755 /own')).outcome.exitCode, 0);
    const changes = await changesOf(instance);
    assert.deepEqual(
      [...changes.keys()].filter((path) => path !== './'),
      ['old/', 'old/deep/', 'old/deep/later', 'own/', 'own/tool'],
    );
    const xattrs = (path: string) => Object.fromEntries(changes.get(path)?.xattrs ?? []);
    assert.equal(Buffer.from(xattrs('own/tool')['security.capability'] ?? []).toString('latin1'), CAPABILITY);
    assert.equal(Buffer.from(xattrs('own/tool')['user.note'] ?? []).toString(), 'kept');
    assert.equal(Buffer.from(xattrs('own/')['user.on'] ?? []).toString(), 'folder');
  });

  test('a program in a layer that an older version wrote runs', async () => {
    await using scratch = await Scratch.create();
    const layers = await imageOf(scratch, await busyboxMembers(), [
      { path: 'script', content: '#!/bin/sh\necho ran\n', mode: 0o755, pax: { 'SCHILY.xattr.user.a': 'b' } },
    ]);
    await using instance = await bench.driver.start(bootSpec(layers), soon());
    assert.equal((await runScript(instance, '/script')).stdout, 'ran\n');
  });

  test('a full disk and a lack of memory are told apart', async () => {
    await using instance = await bench.driver.start(
      bootSpec(bench.layers, { memoryMib: 128, diskBytes: 32 * MIB }),
      soon(),
    );
    const full = await runScript(instance, 'head -c 64m /dev/zero > /big');
    assert.notEqual(full.outcome.exitCode, 0);
    assert.deepEqual([full.outcome.diskFull, full.outcome.outOfMemory], [true, false]);
    assert.equal((await runScript(instance, 'rm /big')).outcome.diskFull, false);
    const hungry = await runScript(instance, 'tail /dev/zero');
    assert.deepEqual([hungry.outcome.diskFull, hungry.outcome.outOfMemory], [false, true]);
  });

  test('a full disk of the host fails the run with that reason, whatever gVisor makes of it', async () => {
    await using mount = await mkdtempDisposable(join(tmpdir(), 'contree-full-'));
    await command('mount', ['-t', 'tmpfs', '-o', 'size=32m', 'tmpfs', mount.path]);
    try {
      const path = process.env['PATH'] ?? '';
      await using driver = await openGvisorDriver({ stateDir: mount.path, guestDir: GUEST_DIR, path });
      {
        await using instance = await driver.start(bootSpec(bench.layers), soon());
        const writing = runScript(instance, 'head -c 64m /dev/zero > /big');
        await assert.rejects(writing, (error) => isFault(error, 'DISK_FULL'));
        await assert.rejects(changesOf(instance), (error) => isFault(error, 'DISK_FULL'));
      }
      await using instance = await driver.start(bootSpec(bench.layers), soon());
      assert.equal((await runScript(instance, 'head -c 8m /dev/zero > /small && echo fits')).stdout, 'fits\n');
      assert.ok((await changesOf(instance)).has('small'));
    } finally {
      await command('umount', ['-l', mount.path]);
    }
  });

  test('what a run writes to its disk is no memory of its guest', async () => {
    await using instance = await bench.driver.start(bootSpec(bench.layers, { memoryMib: 128 }), soon());
    const { outcome, stdout } = await runScript(instance, 'head -c 200m /dev/zero > /big && wc -c < /big');
    assert.deepEqual([outcome.exitCode, outcome.outOfMemory, stdout.trim()], [0, false, String(200 * MIB)]);
  });

  test('the guest sees the processors and the memory it was given', async () => {
    await using instance = await bench.driver.start(bootSpec(bench.layers, { memoryMib: 512, cpus: 1 }), soon());
    const { stdout } = await runScript(instance, `nproc; awk '/MemTotal/ {print $2}' /proc/meminfo; ulimit -f`);
    assert.deepEqual(stdout.trim().split('\n'), ['1', String(512 * 1024), 'unlimited']);
  });

  test('twenty runs one after the other leave nothing on the host', async () => {
    const spec = bootSpec(bench.layers, { network: { mode: 'public' } });
    const one = async (during: () => Promise<unknown>): Promise<void> => {
      await using instance = await bench.driver.start(spec, soon());
      assert.equal((await runScript(instance, 'echo x > /file; sleep 1000 & echo y')).stdout, 'y\n');
      await during();
    };
    await one(async () => {
      const { processes, namespaces } = await tracesOf(folder.stateDir);
      assert.ok(processes.length > 3 && namespaces.length > 5, 'traces of a run are seen');
    });
    const before = await tracesOf(folder.stateDir);
    for (let index = 0; index < 20; index += 1) await one(async () => {});
    assert.deepEqual(await tracesOf(folder.stateDir), before);
    assert.deepEqual([before.processes, before.namespaces, before.cgroups], [[], [], []]);
  });

  test('26: a run has no way to the agent, its channel, the layers or a device of a machine', async () => {
    await using other = await bench.driver.start(bootSpec(bench.layers), soon());
    await using instance = await bench.driver.start(bootSpec(bench.layers), soon());
    const script = `
      for link in /proc/[0-9]*/fd/*; do readlink $link; done | grep -E '^(socket|host):'
      ls /dev | grep -E '^(vd|sd|hvc|vport|mem|kmsg|kvm)'; ls -d /layers /base /cell /disk
      mkdir /m; for n in 0 1 2 3; do mknod /b$n b 254 $n; mount /b$n /m && echo mounted; done
      mknod /mem c 1 1; dd if=/mem of=/x count=1 && echo memory
      echo c > /proc/sysrq-trigger && echo triggered; insmod /bin/sh && echo loaded; reboot -f; echo over`;
    const attacked = await runScript(instance, script).catch((error: unknown) => error);
    assert.equal((attacked as { stdout: string }).stdout, 'over\n', String(attacked));
    assert.equal((await runScript(other, 'echo unharmed')).stdout, 'unharmed\n');
  });

  test('processes without end do not end the sandbox', async () => {
    await using instance = await bench.driver.start(bootSpec(bench.layers), soon());
    const bomb = await runScript(instance, 'while sleep 1000 & do :; done');
    assert.notEqual(bomb.outcome.exitCode, 0);
    assert.match(bomb.stderr, /can't fork/u);
  });
}
