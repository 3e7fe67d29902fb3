import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile, readlink, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { gvisorFolder, hasRunsc, sentryPids } from '../support/gvisor.ts';
import { bootSpec, jailPids } from '../support/microvm.ts';
import { tracesOf } from '../support/sandboxes/traces.ts';

const ROOT = process.getuid?.() === 0;
const HOLDER = join(import.meta.dirname, '../support/processes/gvisor-holder.ts');
/** SYS_PTRACE, in a user namespace of its own. */
const CAPABILITIES = 0x80000n;

if (await hasRunsc()) {
  const folder = await gvisorFolder();
  const [layer] = folder.layers;
  after(() => folder[Symbol.asyncDispose]());

  test("gVisor's kernel has no file, no namespace and no right that it does not need", async () => {
    await using bench = await folder.open();
    await using _instance = await bench.driver.start(bootSpec(bench.layers), AbortSignal.timeout(60_000));
    const [pid, ...others] = await sentryPids(folder.stateDir);
    assert.ok(pid !== undefined && others.length === 0);
    const status = await readFile(`/proc/${pid}/status`, 'utf8');
    const field = (name: string): string => new RegExp(`^${name}:\\s*(\\S+)`, 'mu').exec(status)?.[1] ?? '';
    assert.deepEqual([field('NoNewPrivs'), field('Seccomp')], ['1', '2']);
    for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb']) {
      assert.equal(BigInt(`0x${field(set)}`) & ~CAPABILITIES, 0n, set);
    }
    if (ROOT) assert.notEqual(field('Uid'), '0', 'a user of its own');
    for (const kind of ['user', 'mnt', 'pid', 'net', 'ipc', 'uts']) {
      const [theirs, ours] = await Promise.all([pid, 'self'].map((who) => readlink(`/proc/${who}/ns/${kind}`)));
      assert.notEqual(theirs, ours, kind);
    }
    assert.deepEqual((await readdir(`/proc/${pid}/root`)).toSorted(), ['etc', 'proc']);
    const links = (await readdir(`/proc/${pid}/fd`)).map((fd) => readlink(`/proc/${pid}/fd/${fd}`));
    const files = (await Promise.all(links)).filter((link) => /^\/(?!dev\/null$|memfd:)/u.test(link));
    const disk = files.filter((link) => link.startsWith(join(folder.stateDir, 'tmp')) && link.endsWith(' (deleted)'));
    const root = files.filter((link) => link.endsWith('.erofs') && link.startsWith(folder.stateDir));
    assert.deepEqual([disk.length, root.length], [1, 1], files.join());
    assert.deepEqual(
      files.filter((link) => !disk.includes(link) && !root.includes(link)),
      [layer?.path],
    );
    for (const path of [...root, layer!.path]) assert.equal((await stat(path)).mode & 0o222, 0, `${path} is read-only`);
  });

  test('no process of the jail is without a filter of system calls, and a result says what the kernel reports', async () => {
    await using bench = await folder.open();
    const spec = bootSpec(bench.layers, { network: { mode: 'public' } });
    await using instance = await bench.driver.start(spec, AbortSignal.timeout(60_000));
    const { processes } = await tracesOf(folder.stateDir);
    const statuses = await Promise.all(processes.map((pid) => readFile(`/proc/${pid}/status`, 'utf8')));
    const inside = statuses.filter((status) => !/^Name:\s+bwrap$/mu.test(status));
    assert.ok(inside.length >= 4, 'helper, carrier, runsc and sentry');
    for (const status of inside) assert.match(status, /^Seccomp:\s+2$/mu);
    const { parts, missing } = instance.facts.jail;
    for (const part of ['seccomp', 'no new privileges', 'empty session keyring', 'user namespace', 'network namespace'])
      assert.ok(parts.includes(part), part);
    if (ROOT) assert.ok(parts.includes('own uid'));
    assert.ok(missing.every((part) => !parts.includes(part)));
  });

  test('nothing of a sandbox survives its engine, nor gets a descriptor that the engine inherited', async () => {
    const holder = [HOLDER, folder.stateDir, layer?.path ?? '', String(layer?.bytes)];
    // Above those that Node closes by itself.
    const script = ['-c', 'exec 77</etc/passwd; exec "$@"', 'bash', process.execPath, ...holder];
    const engine = spawn('bash', script, { stdio: ['ignore', 'pipe', 'inherit'] });
    // Without a line it ended, and the next assertion says so.
    await Promise.race([once(engine.stdout, 'data'), once(engine, 'exit')]);
    assert.equal(await readlink(`/proc/${engine.pid}/fd/77`), '/etc/passwd');
    const { processes } = await tracesOf(folder.stateDir);
    assert.ok(processes.length > 0);
    for (const pid of processes) {
      const names = await readdir(`/proc/${pid}/fd`);
      const links = await Promise.all(names.map((name) => readlink(`/proc/${pid}/fd/${name}`)));
      assert.ok(!links.includes('/etc/passwd'), `process ${pid} has ${links.join()}`);
    }
    engine.kill('SIGKILL');
    await once(engine, 'exit');
    const deadline = AbortSignal.timeout(60_000);
    while ((await jailPids(folder.stateDir)).length > 0) {
      deadline.throwIfAborted();
      await pause(20);
    }
    // A file without a name is gone with its last descriptor.
    assert.deepEqual(await readdir(join(folder.stateDir, 'tmp')), []);
  });
}
