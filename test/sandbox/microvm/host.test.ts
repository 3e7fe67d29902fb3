import assert from 'node:assert/strict';
import { chmod, chown, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fault, isFault } from '../../../src/contract/errors.ts';
import { chooseAccelerator, findKvm } from '../../../src/sandbox/microvm/host/accelerator.ts';
import { Cgroups } from '../../../src/sandbox/host/cgroup.ts';
import { loadGuest, verifyGuest } from '../../../src/sandbox/host/guest.ts';
import { liveFacts } from '../../../src/sandbox/host/live-facts.ts';
import { surveyHost } from '../../../src/sandbox/microvm/host/host.ts';
import { covers, Identities } from '../../../src/sandbox/host/identity.ts';
import { bindsOf } from '../../../src/sandbox/microvm/host/jail.ts';
import { Tail } from '../../../src/sandbox/jailed-process.ts';

const SOME_SIZE = { cpus: 2, memoryMib: 1_024, overheadMib: 512 };
const soon = (): AbortSignal => AbortSignal.timeout(20_000);
const ROOT = process.getuid?.() === 0;

async function temporaryFolder(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'contree-host-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

test('findKvm() says why the device cannot be used', async () => {
  await using folder = await temporaryFolder();
  const device = join(folder.path, 'kvm');
  assert.deepEqual(await findKvm(true, device), { denied: `this host has no ${device}` });
  await writeFile(device, '');
  await chmod(device, 0o666);
  assert.deepEqual(await findKvm(true, device), { device: { path: device } });
  await chmod(device, 0o600);
  assert.match(JSON.stringify(await findKvm(true, device)), /only root may open/u);
  assert.deepEqual(await findKvm(false, device), { device: { path: device } }, 'our own user may');
});

test('findKvm() lends the group of the device to who may not open it otherwise', async (t) => {
  if (!ROOT) {
    t.skip('only root can give a file to another group');
    return;
  }
  await using folder = await temporaryFolder();
  const device = join(folder.path, 'kvm');
  await writeFile(device, '');
  await chown(device, 0, 108);
  await chmod(device, 0o660);
  assert.deepEqual(await findKvm(true, device), { device: { path: device, gid: 108 } });
});

test('chooseAccelerator() tries KVM by booting, and remembers how that went', async () => {
  await using folder = await temporaryFolder();
  const host = await surveyHost(soon());
  let tries = 0;
  const failing = async (): Promise<void> => {
    tries += 1;
    throw fault('GUEST_BOOT_TIMEOUT', { seconds: 10 });
  };
  const kvm = { device: { path: '/dev/kvm' } };
  for (let start = 0; start < 3; start += 1) {
    const { accelerator, reason } = await chooseAccelerator(kvm, host, folder.path, failing);
    assert.equal(accelerator, 'emulated');
    assert.match(reason, /\/dev\/kvm opens, but no guest runs: .*10 s/u);
  }
  assert.equal(tries, 1);
});

test('chooseAccelerator() takes KVM when a guest boots, and emulation when there is none to try', async () => {
  await using folder = await temporaryFolder();
  const host = await surveyHost(soon());
  const works = async (): Promise<void> => {};
  const denied = await chooseAccelerator({ denied: 'this host has no /dev/kvm' }, host, folder.path, works);
  assert.deepEqual(denied, { accelerator: 'emulated', reason: 'this host has no /dev/kvm' });
  const taken = await chooseAccelerator({ device: { path: '/dev/kvm' } }, host, folder.path, works);
  assert.equal(taken.accelerator, 'kvm');
});

test('chooseAccelerator() learns nothing from a trial that was broken off, nor from a damaged memory of one', async () => {
  await using folder = await temporaryFolder();
  const host = await surveyHost(soon());
  const kvm = { device: { path: '/dev/kvm' } };
  const stopped = new Error('stopped');
  const trial = chooseAccelerator(kvm, host, folder.path, async () => {
    throw stopped;
  });
  await assert.rejects(trial, stopped);
  assert.deepEqual(await readdir(folder.path), []);
  await writeFile(join(folder.path, 'accelerator.json'), '{"accelerator": "warp"}');
  assert.equal((await chooseAccelerator(kvm, host, folder.path, async () => {})).accelerator, 'kvm');
});

test('surveyHost() finds QEMU with all that it reads', async () => {
  const host = await surveyHost(soon());
  assert.match(host.qemu.version, /^\d+\.\d+/u);
  assert.ok(host.qemuFiles.some((path) => path.includes('libc.so')));
  assert.ok(host.cpu.tscKhz > 100_000);
  assert.ok(host.qemuFiles.every((path) => path.startsWith('/')));
});

test('loadGuest() names the remedy when the guest was not built, and verifyGuest() when it is damaged', async () => {
  await using folder = await temporaryFolder();
  await assert.rejects(loadGuest(folder.path), (error) => {
    return isFault(error, 'DRIVER_UNAVAILABLE') && /guest\/build/u.test(error.message);
  });
  const empty = { sha256: 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855', bytes: 1 };
  const names = ['vmlinux', 'initramfs.cpio', 'contree-host-helper', 'contree-agent'];
  const files = Object.fromEntries(names.map((name) => [name, empty]));
  const manifest = { format: 1, kernel: '6.1', cmdline: 'quiet', files };
  await writeFile(join(folder.path, 'manifest.json'), JSON.stringify(manifest));
  for (const name of names) await writeFile(join(folder.path, name), 'x');
  const guest = await loadGuest(folder.path);
  await assert.rejects(verifyGuest(guest), (error) => isFault(error, 'DRIVER_UNAVAILABLE'));
  await writeFile(join(folder.path, 'vmlinux'), 'too long');
  await assert.rejects(loadGuest(folder.path), (error) => isFault(error, 'DRIVER_UNAVAILABLE'));
});

test('liveFacts() believes the kernel, not what was meant: this process has none of the parts of a jail', async () => {
  const meant = [
    'own uid',
    'mount namespace',
    'network namespace',
    'no new privileges',
    'seccomp',
    'empty session keyring',
    'resource limits',
  ];
  const live = { pid: process.pid, emptyKeyring: false };
  const { parts, missing } = await liveFacts({ parts: meant, missing: ['user namespace'] }, live);
  assert.deepEqual(parts, ['resource limits']);
  assert.deepEqual(missing, ['user namespace', ...meant.slice(0, -1)]);
  const empty = await liveFacts({ parts: meant, missing: [] }, { ...live, emptyKeyring: true });
  assert.deepEqual(empty.parts, ['empty session keyring', 'resource limits']);
});

test('covers() reads the id maps of user namespaces', () => {
  assert.ok(covers('         0          0 4294967295\n', 1_900_000_000, 8_192));
  assert.ok(!covers('         0     100000      65536\n', 1_900_000_000, 8_192));
  assert.ok(covers('0 1000 1\n1 100000 65536\n', 1, 65_536));
  assert.ok(!covers('', 0, 1));
});

test('Identities gives every microVM one that nobody else has', async (t) => {
  const identities = await Identities.open('/some/state');
  if (!ROOT) {
    assert.equal(identities.take().vm, undefined);
    t.skip('only root can run programs as somebody else');
    return;
  }
  const [first, second] = [identities.take(), identities.take()];
  const uids = [first.vm?.uid, second.vm?.uid];
  assert.equal(new Set(uids).size, 2);
  assert.ok(uids.every((uid) => uid !== undefined && uid > 65_534));
  first[Symbol.dispose]();
  assert.deepEqual(identities.take().vm, first.vm, 'one that was given back is used again');
  const other = (await Identities.open('/another/state')).take();
  assert.ok(Math.abs((other.vm?.uid ?? 0) - (first.vm?.uid ?? 0)) >= 4_096, 'two engines share none');
});

test('Cgroups limits memory, processor time and processes, where the host hands the controllers down', async () => {
  await using mount = await temporaryFolder();
  assert.equal(await Cgroups.open('owner', mount.path, mount.path), undefined, 'no control groups');
  await writeFile(join(mount.path, 'cgroup.subtree_control'), 'cpuset io pids\n');
  assert.equal(await Cgroups.open('owner', mount.path, mount.path), undefined, 'memory is not handed down');
  await writeFile(join(mount.path, 'cgroup.subtree_control'), 'cpu memory pids\n');
  await mkdir(join(mount.path, 'owner', '7'), { recursive: true });
  const cgroups = await Cgroups.open('owner', mount.path, mount.path);
  assert.ok(cgroups !== undefined);
  assert.deepEqual(await readdir(join(mount.path, 'owner')), ['cgroup.subtree_control'], 'what was left is gone');
  const group = await cgroups.create(SOME_SIZE, 0);
  assert.deepEqual(group.entrances, [join(mount.path, 'owner', '1', 'cgroup.procs')]);
  const setting = (name: string): Promise<string> => readFile(join(mount.path, 'owner', '1', name), 'utf8');
  assert.equal(await setting('memory.max'), String((2 * 1_024 + 512) * 1024 ** 2));
  assert.equal(await setting('cpu.max'), '250000 100000');
  assert.equal(await setting('cpu.weight'), '300');
  assert.equal(await setting('pids.max'), '256');
});

test('Cgroups makes a group in the tree of each controller, where they are apart (v1)', async () => {
  await using mount = await temporaryFolder();
  for (const tree of ['memory', 'cpu', 'pids']) {
    await mkdir(join(mount.path, tree, 'owner', '7'), { recursive: true });
    if (tree === 'pids')
      assert.equal(await Cgroups.open('owner', mount.path, mount.path), undefined, 'a folder is no tree');
    await writeFile(join(mount.path, tree, 'cgroup.procs'), '');
  }
  const cgroups = await Cgroups.open('owner', mount.path, mount.path);
  assert.ok(cgroups !== undefined);
  const group = await cgroups.create(SOME_SIZE, 0);
  const entrances = ['memory', 'cpu', 'pids'].map((tree) => join(mount.path, tree, 'owner/1/tasks'));
  assert.deepEqual(group.entrances, entrances);
  const setting = (path: string): Promise<string> => readFile(join(mount.path, path), 'utf8');
  assert.equal(await setting('memory/owner/1/memory.limit_in_bytes'), String((2 * 1_024 + 512) * 1024 ** 2));
  assert.equal(await setting('cpu/owner/1/cpu.cfs_period_us'), '100000');
  assert.equal(await setting('cpu/owner/1/cpu.cfs_quota_us'), '250000');
  assert.equal(await setting('cpu/owner/1/cpu.shares'), '3072');
  assert.equal(await setting('pids/owner/1/pids.max'), '256');
  await Promise.all([1, 2, 3].map(() => cgroups.create(SOME_SIZE, 0)));
  for (const tree of ['memory', 'cpu', 'pids']) {
    assert.deepEqual((await readdir(join(mount.path, tree, 'owner'))).toSorted(), ['1', '2', '3', '4'], tree);
  }
});

test('Cgroups counts a disk as memory where that is what it is: on a tmpfs', async () => {
  for (const [disks, extra] of [
    ['/dev/shm', 4_096],
    ['/proc', 0],
  ] as const) {
    await using mount = await temporaryFolder();
    await writeFile(join(mount.path, 'cgroup.subtree_control'), 'cpu memory pids\n');
    const cgroups = await Cgroups.open('owner', disks, mount.path);
    assert.ok(cgroups !== undefined);
    await cgroups.create(SOME_SIZE, 4_096);
    const limit = await readFile(join(mount.path, 'owner', '1', 'memory.max'), 'utf8');
    assert.equal(limit, String((2 * 1_024 + 512) * 1024 ** 2 + extra), disks);
  }
});

test('bindsOf() binds a folder as a whole where many of its files are needed, else the files', () => {
  const libraries = Array.from({ length: 9 }, (_, index) => `/lib/lib${index}.so`);
  assert.deepEqual(bindsOf(['/usr/bin/qemu', ...libraries, '/lib64/ld.so', '/usr/bin/qemu', '/usr/share/qemu']), [
    '/usr/bin/qemu',
    '/lib',
    '/lib64/ld.so',
    '/usr/share/qemu',
  ]);
});

test('Tail keeps the end of what may be endless, in printable characters', () => {
  const tail = new Tail(16);
  for (let line = 0; line < 1_000; line += 1) tail.push(Buffer.from(`line ${line}\n`));
  assert.equal(tail.lastLines(1), 'line 999');
  tail.push(Buffer.from('\x1b[2Jred\xff\n'));
  assert.equal(tail.lastLines(1), '[2Jred');
  assert.equal(new Tail(4).lastLines(3), '');
});
