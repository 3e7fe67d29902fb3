import assert from 'node:assert/strict';
import { readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { surveyHost } from '../../src/sandbox/microvm/host/host.ts';
import { Jail } from '../../src/sandbox/microvm/host/jail.ts';
import { ownerOf } from '../../src/sandbox/host/stale-vms.ts';
import { FD } from '../../src/sandbox/microvm/vm/machine.ts';
import { Vmm } from '../../src/sandbox/microvm/vm/vmm.ts';
import { bootSpec, GUEST_DIR, microvmFolder, qemuPids, runScript } from '../support/microvm.ts';
import { LoopWatch } from '../support/time/stopwatch.ts';

const folder = await microvmFolder();
after(() => folder[Symbol.asyncDispose]());

const soon = (): AbortSignal => AbortSignal.timeout(240_000);
const ROOT = process.getuid?.() === 0;
const SECRET = 'canary-7f3a';

/** Returns the fields of /proc/<pid>/status. */
async function statusOf(pid: number): Promise<Record<string, string>> {
  const lines = (await readFile(`/proc/${pid}/status`, 'utf8')).trim().split('\n');
  return Object.fromEntries(lines.map((line) => line.split(/:\s*/u, 2) as [string, string]));
}

/** Returns the QEMU of a running instance. */
async function qemu(): Promise<number> {
  const pids = await qemuPids(folder.stateDir);
  assert.equal(pids.length, 1);
  return pids[0]!;
}

test('QEMU runs without root, capabilities or new privileges, under seccomp', async () => {
  await using bench = await folder.open();
  await using _instance = await bench.driver.start(bootSpec(bench.layers), soon());
  const status = await statusOf(await qemu());
  const uids = new Set(status['Uid']?.split('\t'));
  if (ROOT)
    assert.ok(!uids.has('0') && uids.size === 1 && [...uids].every((uid) => Number(uid) >= 65_534), status['Uid']);
  assert.equal(status['Groups']?.trim(), '');
  assert.equal(status['NoNewPrivs'], '1');
  assert.equal(status['Seccomp'], '2');
  for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'])
    assert.equal(Number(`0x${status[set]}`), 0, set);
});

test('QEMU is in namespaces of its own, another one for each run', async () => {
  await using bench = await folder.open();
  await using _first = await bench.driver.start(bootSpec(bench.layers), soon());
  const first = await qemu();
  await using _second = await bench.driver.start(bootSpec(bench.layers), soon());
  const [second] = (await qemuPids(folder.stateDir)).filter((pid) => pid !== first);
  for (const kind of ['user', 'mnt', 'pid', 'net', 'ipc', 'uts', 'cgroup']) {
    const names = await Promise.all(
      [`${first}`, `${second}`, 'self'].map((pid) => readlink(`/proc/${pid}/ns/${kind}`)),
    );
    assert.equal(new Set(names).size, 3, kind);
  }
  if (ROOT) assert.notEqual((await statusOf(first))['Uid'], (await statusOf(second!))['Uid']);
});

test('QEMU sees nothing of the host but itself, the shared libraries and its firmware', async () => {
  await using bench = await folder.open();
  await using _instance = await bench.driver.start(bootSpec(bench.layers), soon());
  const root = `/proc/${await qemu()}/root`;
  assert.deepEqual(
    (await readdir(root)).filter(
      (name) => !['contree-host-helper', 'dev', 'lib', 'lib64', 'proc', 'usr'].includes(name),
    ),
    [],
  );
  assert.deepEqual(await readdir(`${root}/dev`), ['null']);
  assert.deepEqual(
    (await readdir(`${root}/usr/bin`)).filter((name) => !name.startsWith('qemu-system')),
    [],
  );
  const processes = (await readdir(`${root}/proc`)).filter((name) => /^\d+$/u.test(name));
  assert.deepEqual(processes, ['1']);
  const mounts = (await readFile(`/proc/${await qemu()}/mountinfo`, 'utf8')).trim().split('\n');
  const writable = mounts.map((line) => line.split(' ')).filter(([, , , , , options = '']) => /\brw\b/u.test(options));
  assert.deepEqual(
    writable.map(([, , , , path]) => path).filter((path) => !['/proc', '/dev/null'].includes(path ?? '')),
    [],
  );
});

test('QEMU has no network but the socket to our filter', async () => {
  await using bench = await folder.open();
  await using _instance = await bench.driver.start(bootSpec(bench.layers), soon());
  const devices = (await readFile(`/proc/${await qemu()}/net/dev`, 'utf8')).trim().split('\n').slice(2);
  assert.deepEqual(
    devices.map((line) => line.trim().split(':', 1)[0]),
    ['lo'],
  );
});

test('the limits of the jail are set', async () => {
  await using bench = await folder.open();
  await using _instance = await bench.driver.start(bootSpec(bench.layers), soon());
  const text = await readFile(`/proc/${await qemu()}/limits`, 'utf8');
  const hard = (name: string): string | undefined => new RegExp(`^${name} +\\S+ +(\\S+)`, 'mu').exec(text)?.[1];
  assert.equal(hard('Max core file size'), '0');
  assert.equal(hard('Max open files'), '512');
  assert.ok(Number(hard('Max file size')) < 1024 ** 3, 'a run of 256 MiB writes no file of a gigabyte');
  assert.ok(Number(hard('Max address space')) < 8 * 1024 ** 3);
  if (ROOT) assert.equal(hard('Max processes'), '256');
});

test('control groups bound the memory, processor time and processes of QEMU, and are gone with it', async (t) => {
  await using bench = await folder.open();
  const instance = await bench.driver.start(bootSpec(bench.layers, { memoryMib: 128 }), soon());
  if (instance.facts.jail.missing.includes('memory and CPU limits')) {
    await instance[Symbol.asyncDispose]();
    t.skip('this host does not let us make control groups');
    return;
  }
  const owner = ownerOf(folder.stateDir);
  // `memory:/owner/1` for each tree of v1, `0::/owner/1` in v2.
  const memberships = (await readFile(`/proc/${await qemu()}/cgroup`, 'utf8')).split('\n');
  const own = memberships.map((line) => line.split(':', 3)).filter(([, , path]) => path?.includes(owner) === true);
  const folders = own.map(([, controller = '', path = '']) => join('/sys/fs/cgroup', controller, path));
  const settings = await Promise.all(
    folders.flatMap((group) =>
      ['memory.max', 'memory.limit_in_bytes', 'cpu.max', 'cpu.cfs_quota_us', 'pids.max'].map((name) =>
        readFile(join(group, name), 'utf8').catch(() => ''),
      ),
    ),
  );
  const bounds = settings.filter((text) => text !== '').map((text) => Number.parseInt(text, 10));
  assert.deepEqual(
    bounds.toSorted((a, b) => a - b),
    [256, 150_000, (2 * 128 + 512) * 1024 ** 2],
  );
  await instance[Symbol.asyncDispose]();
  for (const group of folders) await assert.rejects(readdir(group), /ENOENT/u);
});

test("QEMU's arguments, environment and open files hold no secrets, and no file of the store by name", async () => {
  process.env['CONTREE_TEST_SECRET'] = SECRET;
  await using bench = await folder.open();
  await using instance = await bench.driver.start(bootSpec(bench.layers, { hostname: SECRET }), soon());
  assert.equal((await runScript(instance, `echo ${SECRET}`)).stdout, `${SECRET}\n`);
  const pid = await qemu();
  assert.equal((await readFile(`/proc/${pid}/environ`, 'latin1')).replaceAll('\0', ''), 'PWD=/');
  const commandLine = await readFile(`/proc/${pid}/cmdline`, 'latin1');
  assert.ok(!commandLine.includes(SECRET));
  assert.ok(!commandLine.includes(folder.stateDir));
  const names = await readdir(`/proc/${pid}/fd`);
  const targets = await Promise.all(names.map((name) => readlink(`/proc/${pid}/fd/${name}`)));
  const known =
    /^(?:\/dev\/null|socket:|pipe:|anon_inode:|\/memfd:|\/dev\/zero)|\/(?:tmp|templates)\/|busybox\.erofs$/u;
  assert.deepEqual(
    targets.filter((target) => !known.test(target)),
    [],
  );
});

test('a guest that was stopped by its host is ended all the same, after a grace period', async () => {
  await using bench = await folder.open();
  const instance = await bench.driver.start(bootSpec(bench.layers), soon());
  process.kill(await qemu(), 'SIGSTOP');
  using watch = new LoopWatch();
  await instance[Symbol.asyncDispose]();
  assert.ok(watch.ms < 10_000, `${watch.ms} ms`);
  assert.equal(await bench.live(), 0);
});

test('the facts of an instance state the jail', async () => {
  await using bench = await folder.open();
  await using instance = await bench.driver.start(bootSpec(bench.layers), soon());
  const { parts, missing } = instance.facts.jail;
  for (const part of ['seccomp', 'mount namespace', 'empty session keyring']) assert.ok(parts.includes(part), part);
  if (ROOT) assert.ok(parts.includes('own uid') && parts.includes('user namespace'));
  assert.ok(missing.every((part) => !parts.includes(part)));
});

test('where user namespaces are forbidden, root builds a jail without one, and QEMU is as far from root', async (t) => {
  if (!ROOT) {
    t.skip('only root can do without user namespaces');
    return;
  }
  const identity = { uid: 1_900_004_095, gid: 1_900_004_095 };
  const host = await surveyHost(soon());
  const owner = 'contree-jail-test';
  const helper = join(GUEST_DIR, 'contree-host-helper');
  const jail = await Jail.open(host, { owner, helper, identity, limited: false, kinds: ['privileged'] }, soon());
  assert.ok(jail.facts.missing.includes('user namespace'));
  const machine = ['-machine', 'none', '-nodefaults', '-display', 'none', '-sandbox', 'on,spawn=deny'];
  const monitor = ['-chardev', `socket,id=qmp,fd=${FD.qmp}`, '-mon', 'chardev=qmp,mode=control'];
  const limits = { fileBytesMax: 64 * 1024 ** 2 };
  await using vmm = new Vmm({ jail, identity, limits, arguments: [...machine, ...monitor], descriptors: new Map() });
  await vmm.qmp.execute('query-version');
  const [child] = (await readFile(`/proc/${vmm.jailPid}/task/${vmm.jailPid}/children`, 'utf8')).trim().split(' ');
  const status = await statusOf(Number(child));
  assert.deepEqual([...new Set(status['Uid']?.split('\t'))], [String(identity.uid)]);
  assert.equal(status['NoNewPrivs'], '1');
  assert.equal(status['Seccomp'], '2');
  for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'])
    assert.equal(Number(`0x${status[set]}`), 0, set);
  for (const kind of ['mnt', 'pid', 'net', 'ipc', 'uts']) {
    assert.notEqual(await readlink(`/proc/${child}/ns/${kind}`), await readlink(`/proc/self/ns/${kind}`), kind);
  }
});
