import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, copyFile, mkdtemp, readdir, readFile, readlink, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, test } from 'node:test';
import { libraries } from '../../src/sandbox/microvm/host/host.ts';
import { Identities } from '../../src/sandbox/host/identity.ts';
import { Jail } from '../../src/sandbox/microvm/host/jail.ts';
import { HostPlatform } from '../../src/sandbox/microvm/host/platform.ts';
import { RESTORE_FD } from '../../src/sandbox/microvm/vm/machine.ts';
import { startVmm } from '../../src/sandbox/microvm/vm/restore.ts';
import { bootSpec, GUEST_DIR, jailPids, microvmFolder, qemuPids } from '../support/microvm.ts';

const folder = await microvmFolder();
const [layer] = folder.layers;
// Modes as the store publishes them.
await chmod(layer!.path, 0o444);
after(() => folder[Symbol.asyncDispose]());

const soon = (): AbortSignal => AbortSignal.timeout(120_000);
const SUPPORT = join(import.meta.dirname, '../support/processes');
const ROOT = process.getuid?.() === 0;

/** Report of `probe.py` in place of QEMU: what it could do. */
interface Answer {
  readonly pid: number;
  readonly calls: Readonly<Record<string, string>>;
  readonly files: Readonly<
    Record<string, { readonly mode: string; readonly before: boolean; readonly after: boolean }>
  >;
  readonly descriptors: readonly number[];
  /** Lines of /proc/keys, or why it cannot be read. */
  readonly keys: readonly string[] | string;
}

/** Runs the probe in QEMU's jail with everything that a run's QEMU gets, as the microVM's user or as the engine's. */
async function probe(own: boolean): Promise<Answer> {
  const temporary = await mkdtemp(join(tmpdir(), 'contree-probe-'));
  const program = join(temporary, 'probe.py');
  await chmod(temporary, 0o755);
  await copyFile(join(SUPPORT, 'probe.py'), program);
  await using stack = new AsyncDisposableStack();
  stack.defer(() => rm(temporary, { recursive: true }));
  const { stateDir } = folder;
  // The driver creates its folders.
  await using _driver = await folder.open();
  const identities = await Identities.open(stateDir);
  const options = { stateDir, guestDir: GUEST_DIR, accelerator: 'emulated', log: () => {} } as const;
  const platform = stack.use(await HostPlatform.open(options, identities, soon()));
  const { parts } = platform;
  const { vm } = stack.use(identities.take());
  const identity = own ? vm : undefined;
  const python = await realpath('/usr/bin/python3');
  const version = python.replace(/^.*\//u, '');
  const files = [program, '/usr/bin/python3', python, `/usr/lib/${version}`, ...(await libraries([python], soon()))];
  const ffi = await readFile('/etc/ld.so.cache', 'latin1');
  const [libffi = ''] = /\/[\w/.-]+libffi\.so\.\d+/u.exec(ffi) ?? [];
  const host = { ...parts.host, qemu: { path: program, version: '' }, qemuFiles: [...files, libffi] };
  const jail = await Jail.open(
    host,
    { owner: 'contree-probe', helper: parts.guest.helper.path, identity, limited: false },
    soon(),
  );
  const machine = platform.machine(1, 1_024);
  const template = stack.use(await parts.templates.use(machine, soon()));
  const spec = bootSpec(folder.layers);
  const network = {};
  const run = { machine, template: template.template, spec, identity, network };
  const { vmm } = await startVmm({ ...parts, jail }, run, undefined);
  stack.use(vmm);
  const [line] = (await Promise.race([
    once(createInterface(vmm.agent), 'line'),
    vmm.ended.then(({ reason }) => assert.fail(reason)),
  ])) as [string];
  return JSON.parse(line) as Answer;
}

for (const own of ROOT ? [true, false] : [false]) {
  const who = own ? 'a user of its own' : "the engine's user";

  test(`a QEMU that was taken over, as ${who}, writes none of its files but its scratch disk`, async () => {
    const { files, descriptors } = await probe(own);
    const numbers = Object.keys(files).map(Number);
    const { state, disk, overlay, layers, firstExtent } = RESTORE_FD;
    assert.deepEqual(numbers, [9, state, disk, overlay, layers, firstExtent, firstExtent + 1], 'all were tried');
    const written = numbers.filter((fd) => files[fd]!.before || files[fd]!.after);
    assert.deepEqual(
      written.filter((fd) => fd !== overlay),
      [],
      JSON.stringify(files),
    );
    assert.ok(
      Math.max(...descriptors) <= firstExtent + 2,
      `only what was named, and the list itself: ${descriptors.join()}`,
    );
  });

  test(`a QEMU that was taken over, as ${who}, cannot call what reaches beyond its jail`, async () => {
    const { calls, pid, keys } = await probe(own);
    assert.equal(keys, 'EACCES', "the names of the user's keys");
    assert.equal(pid, 1, 'there is no other process in its jail');
    assert.deepEqual(
      Object.entries(calls).filter(([, result]) => result !== 'ENOSYS'),
      [],
    );
    assert.ok(Object.keys(calls).length >= 15);
  });
}

test('a descriptor that the engine inherited reaches neither QEMU nor bubblewrap', async () => {
  const holder = [join(SUPPORT, 'microvm-holder.ts'), folder.stateDir, layer!.path, String(layer!.bytes), '77'];
  // Above those that Node closes by itself.
  const script = 'exec 77</etc/passwd; exec "$@"';
  const engine = spawn('bash', ['-c', script, 'bash', process.execPath, ...holder], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    // It has started an instance, and keeps it.
    const [line] = (await once(createInterface(engine.stdout), 'line')) as [string];
    assert.equal(line, '/etc/passwd', 'a child that is started without the helper has it');
    const [pids, [qemu]] = await Promise.all([jailPids(folder.stateDir), qemuPids(folder.stateDir)]);
    assert.ok(pids.length >= 2 && pids.includes(qemu!), `bubblewrap and QEMU are ${pids.join()}`);
    for (const pid of pids) {
      const names = await readdir(`/proc/${pid}/fd`);
      const files = await Promise.all(names.map((name) => readlink(`/proc/${pid}/fd/${name}`)));
      assert.ok(files.length > 0 && !files.includes('/etc/passwd'), `process ${pid} has ${files.join()}`);
    }
  } finally {
    engine.kill('SIGKILL');
    await once(engine, 'exit');
  }
});
