import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { describe, test } from 'node:test';
import { TarReader } from '../../src/tar/reader.ts';
import { isFault } from '../../src/contract/errors.ts';
import type { Command, Instance, SandboxDriver } from '../../src/sandbox/driver.ts';
import type { LayerFile } from '../../src/erofs/layer-file.ts';
import { collect } from '../../src/std/bytes.ts';
import { layerOf, Scratch } from '../support/layers.ts';
import { bootSpec, runScript } from '../support/microvm.ts';
import { tarOf } from '../support/tar.ts';
import { liveSnapshotTests } from './live-snapshots.ts';
import { savedModelTest } from './saved-model.ts';
import { snapshotModelTest } from './snapshot-model.ts';

const MIB = 1024 ** 2;
const SIGINT = 2;
const soon = (): AbortSignal => AbortSignal.timeout(300_000); // The template, on a busy machine.
const SHELL = { env: { PATH: '/bin' }, cwd: '/', uid: 0, gid: 0, stdin: false };

/** One opened driver and what the tests need to know of it. */
export interface GuestBench {
  readonly driver: SandboxDriver;
  readonly stateDir: string;
  /** Layers of a busybox image. */
  readonly layers: readonly LayerFile[];
  /** Shell command that ends everything in the run. */
  readonly halt: string;
  /** Cases of the model of what is saved. */
  readonly modelRounds: number;
  /** True when the kernel protects the run's pid 1 from its own processes. */
  readonly initIsSafe: boolean;
}

async function boot(bench: GuestBench): Promise<Instance> {
  return bench.driver.start(bootSpec(bench.layers), soon());
}

async function finish(instance: Instance, command: Partial<Command>): Promise<{ text: string; exitCode: number }> {
  const process = await instance.start({ argv: ['true'], ...SHELL, ...command }, soon());
  let text = '';
  for await (const { bytes } of process.output) text += Buffer.from(bytes).toString('latin1');
  return { text, exitCode: (await process.outcome).exitCode };
}

/** Returns the members of the changes by path, each with the attributes that tests check. */
async function changesOf(instance: Instance): Promise<Map<string, Record<string, unknown>>> {
  const tar = await collect(instance.changes(soon()), 64 * MIB);
  const found = new Map<string, Record<string, unknown>>();
  if (tar.length === 0) return found;
  const reader = new TarReader(Readable.from([tar]));
  for (let entry = await reader.next(); entry !== undefined; entry = await reader.next()) {
    found.set(entry.path, { ...entry });
  }
  return found;
}

/** Declares the tests of what a run sees, does and leaves behind, which every sandbox passes. */
export function guestTests(name: string, bench: GuestBench): void {
  describe(`${name} guest`, () => {
    describeChanges(bench);
    describeOddChanges(bench);
    savedModelTest(name, bench, bench.modelRounds);
    snapshotModelTest(name, bench, bench.modelRounds);
    liveSnapshotTests(name, bench);
    describeProcesses(bench);
    describeCommands(bench);
    describeLimits(bench);
    describeIdentity(bench);
  });
}

function describeIdentity(bench: GuestBench): void {
  test('34: runs of one image differ where they must, and know the time to the second', async () => {
    const seen = [];
    for (let index = 0; index < 2; index += 1) {
      const spec = bootSpec(bench.layers, { hostname: `box${index}`, network: { mode: 'public' } });
      await using instance = await bench.driver.start(spec, soon());
      const facts =
        'cat /proc/sys/kernel/random/boot_id /proc/sys/kernel/random/uuid; head -c 16 /dev/urandom | xxd -p';
      const { stdout } = await runScript(instance, `${facts}; hostname; ip link show eth0 | grep ether`);
      const askedMs = Date.now();
      // A whole second, because the limit may be exceeded by that much.
      const guestMs = Number((await runScript(instance, 'date +%s')).stdout) * 1_000;
      assert.ok(guestMs + 1_000 > askedMs - 1_000 && guestMs < Date.now() + 1_000, `${guestMs - askedMs} ms`);
      seen.push(...stdout.trim().split('\n'));
    }
    assert.equal(seen.length, 10);
    assert.equal(new Set(seen).size, 10);
  });
}

function describeChanges(bench: GuestBench): void {
  test('actions that leave the files as they were are not changes', async () => {
    await using instance = await boot(bench);
    const { outcome, stderr } = await runScript(
      instance,
      `mkdir /a && rmdir /a
       touch /tmp/x && rm /tmp/x
       : >> /etc/group
       chmod 644 /etc/passwd
       ln /etc/passwd /etc/again && rm /etc/again
       echo 192.0.2.1 other >> /etc/hosts; echo nameserver 192.0.2.1 > /etc/resolv.conf
       echo x > /dev/shm/x
       cat /etc/* > /dev/null`,
    );
    assert.equal(outcome.exitCode, 0, stderr);
    assert.deepEqual([...(await changesOf(instance)).keys()], []);
  });

  test('changes are told with everything that belongs to them', async () => {
    await using instance = await boot(bench);
    const { outcome, stderr } = await runScript(
      instance,
      `set -e
       mkdir -p /new/dir; echo hello > /new/dir/file; ln /new/dir/file /new/hard; ln -s dir/file /new/soft
       mknod /new/null c 1 3; mkfifo /new/fifo; chown 70000:3000000 /new/fifo; chmod 4711 /new/dir/file
       touch -d @1000000000 /etc/passwd
       rm /bin/true
       rm -r /root && mkdir /root && touch /root/fresh
       rm /etc/group && mkdir /etc/group
       mkdir -p "/new/$(printf '%0120d' 0)" && touch "/new/$(printf '%0120d' 0)/$(printf 'n\\n\\377')"`,
    );
    assert.equal(outcome.exitCode, 0, stderr);
    const changes = await changesOf(instance);
    const at = (path: string): Record<string, unknown> => changes.get(path) ?? assert.fail(`no ${path}`);
    assert.equal(at('new/dir/file')['mode'], 0o4711);
    assert.equal(at('new/hard')['type'], 'link');
    assert.equal(at('new/soft')['type'], 'symlink');
    assert.equal(at('new/null')['type'], 'character');
    assert.deepEqual([at('new/fifo')['uid'], at('new/fifo')['gid']], [70_000, 3_000_000]);
    assert.deepEqual([at('bin/true')['type'], at('bin/true')['major'], at('bin/true')['minor']], ['character', 0, 0]);
    assert.ok(at('root/')['opaque'] === true && changes.has('root/fresh'));
    assert.equal(at('etc/group/')['type'], 'directory');
    assert.ok(changes.has(`new/${'0'.repeat(120)}/n\n\xff`));
    assert.ok(!changes.has('etc/hosts') && !changes.has('etc/resolv.conf') && !changes.has('proc/'));
  });
}

function describeOddChanges(bench: GuestBench): void {
  test('whatever root removes and however it names files, all the rest is saved (I2, I3, I4)', async () => {
    await using instance = await boot(bench);
    const { outcome, stderr } = await runScript(
      instance,
      `set -e
       echo kept > /kept; rm -rf /dev/* 2>/dev/null || true
       echo x > /.wh.etc; echo x > /etc/.wh..wh..opq; mkdir /.wh.; touch /.wh./.wh..wh..x
       ln /etc/passwd /after; ln /etc/group /a; mv /bin/busybox /bin/moved; ln /bin/moved /bin/busybox
       ! mknod /whiteout c 0 0`,
    );
    assert.equal(outcome.exitCode, 0, stderr);
    assert.equal((await runScript(instance, 'echo goes on')).stdout, 'goes on\n');
    const changes = await changesOf(instance);
    const at = (path: string): unknown[] => [changes.get(path)?.['type'], changes.get(path)?.['linkpath']];
    for (const path of ['kept', '.wh.etc', 'etc/.wh..wh..opq', '.wh./.wh..wh..x'])
      assert.deepEqual(at(path), ['file', '']);
    // The first name of a file in the order of paths has it; one that is as it was in the image is not repeated.
    assert.deepEqual(at('after'), ['file', '']);
    assert.deepEqual(at('etc/passwd'), ['link', 'after']);
    assert.deepEqual(
      [at('a'), at('etc/group')],
      [
        ['file', ''],
        ['link', 'a'],
      ],
    );
    assert.deepEqual(
      [at('bin/busybox'), at('bin/moved')],
      [
        [undefined, undefined],
        ['link', 'bin/busybox'],
      ],
    );
    assert.ok(![...changes.keys()].some((path) => path.startsWith('dev')));
  });

  test('a folder of the image where the sandbox has a file of its own is left as it is (I6)', async () => {
    await using scratch = await Scratch.create();
    const folders = ['hosts', 'hostname', 'resolv.conf'].map((name) => ({
      path: `etc/${name}`,
      flag: '5',
      mode: 0o755,
    }));
    const layers = [...bench.layers, await layerOf(scratch, tarOf(folders), bench.layers)];
    await using instance = await bench.driver.start(bootSpec(layers), soon());
    const { stdout, stderr } = await runScript(instance, 'ls -d /etc/*/; echo x > /etc/hosts/x; hostname');
    assert.equal(stdout, '/etc/hostname/\n/etc/hosts/\n/etc/resolv.conf/\nbox\n', stderr);
    assert.deepEqual([...(await changesOf(instance)).keys()], ['./', 'etc/', 'etc/hosts/', 'etc/hosts/x']);
  });
}

function describeProcesses(bench: GuestBench): void {
  test('devices of an image are there, and a run saves those that it changes', async () => {
    await using scratch = await Scratch.create();
    const layer = await layerOf(
      scratch,
      tarOf([
        { path: 'nodes', flag: '5', mode: 0o755, mtime: 1_000 },
        { path: 'nodes/null', flag: '3', device: [1, 3], mode: 0o666, uid: 5, mtime: 2_000 },
        { path: 'nodes/again', flag: '1', linkname: 'nodes/null' },
        { path: 'nodes/disk', flag: '4', device: [7, 300], mode: 0o640 },
        { path: 'etc/.wh.group' },
      ]),
      bench.layers,
    );
    await using instance = await bench.driver.start(bootSpec([...bench.layers, layer]), soon());
    const script = `
      stat -c '%n %F %t %T %a %u %h' /nodes/*; stat -c '%a %Y' /nodes; echo gone > /nodes/null && wc -c < /nodes/null
      ls /etc/group; chmod 600 /nodes/disk; rm /nodes/null`;
    const { stdout, stderr } = await runScript(instance, script);
    assert.deepEqual(stdout.trim().split('\n'), [
      '/nodes/again character special file 1 3 666 5 2',
      '/nodes/disk block special file 7 12c 640 0 1',
      '/nodes/null character special file 1 3 666 5 2',
      '755 1000',
      '0',
    ]);
    assert.match(stderr, /group: No such file/u);
    const changes = await changesOf(instance);
    const disk = changes.get('nodes/disk');
    assert.deepEqual([disk?.['type'], disk?.['major'], disk?.['minor'], disk?.['mode']], ['block', 7, 300, 0o600]);
    const removed = changes.get('nodes/null');
    assert.deepEqual([removed?.['type'], removed?.['major'], removed?.['minor']], ['character', 0, 0]);
    assert.ok(!changes.has('nodes/again'));
  });

  test('what still runs when the changes are asked for is ended, and had its say', async () => {
    await using instance = await boot(bench);
    const argv = ['sh', '-c', 'echo kept > /kept; echo before; sleep 1000 & sleep 1000'];
    const process = await instance.start({ argv, ...SHELL }, soon());
    const { done, value } = await process.output[Symbol.asyncIterator]().next();
    assert.ok(!done);
    assert.equal(Buffer.from(value.bytes).toString(), 'before\n');
    const changes = changesOf(instance);
    assert.equal((await process.outcome).signal, 9);
    assert.ok((await changes).has('kept'));
  });

  test('a terminal is one: size, job control, end of input', async () => {
    await using instance = await boot(bench);
    const script = 'tty; read line; stty size; echo "got $line"; cat';
    const process = await instance.start(
      { argv: ['sh', '-c', script], ...SHELL, stdin: true, tty: { columns: 100, rows: 30 } },
      soon(),
    );
    let text = '';
    const reading = (async () => {
      for await (const { stream, bytes } of process.output) {
        assert.equal(stream, 'stdout');
        text += Buffer.from(bytes).toString();
      }
    })();
    await process.resize(120, 40);
    await process.write(Buffer.from('word\n'));
    await process.closeStdin();
    await reading;
    assert.equal((await process.outcome).exitCode, 0);
    assert.match(text, /\/dev\/pts\/0\r\n/u);
    assert.match(text, /40 120\r\ngot word\r\n/u);

    for (const [script, typed] of [
      ['cat; echo end', 'abc'],
      ['cat; echo end', 'abc\n'],
      ['cat; echo end', ''],
      ['stty raw -echo; echo ready; cat; echo end', 'abc'],
      ['read line; stty raw -echo; echo ready; cat; echo end', 'abc\n'],
    ] as const) {
      const ending = await instance.start(
        { argv: ['sh', '-c', script], ...SHELL, stdin: true, tty: { columns: 80, rows: 24 } },
        soon(),
      );
      await ending.write(Buffer.from(typed));
      await ending.closeStdin();
      let output = '';
      for await (const { bytes } of ending.output) output += Buffer.from(bytes).toString();
      assert.equal((await ending.outcome).exitCode, 0);
      assert.match(output, /end\r?\n$/u, `input ${JSON.stringify(typed)} of ${script} ends (B1)`);
    }

    const cat = await instance.start({ argv: ['cat'], ...SHELL, stdin: true, tty: { columns: 80, rows: 24 } }, soon());
    await cat.write(Buffer.from('\x03'));
    assert.equal((await cat.outcome).signal, SIGINT, 'Ctrl-C');
  });
}

function describeCommands(bench: GuestBench): void {
  test('a user is who the image says: groups, working directory, its own output', async () => {
    await using instance = await boot(bench);
    await runScript(instance, 'echo ann:x:1000:1000::/:/bin/sh >> /etc/passwd; echo audio:x:29:bob,ann >> /etc/group');
    const { text } = await finish(instance, {
      argv: ['sh', '-c', 'id -u; id -G; pwd; echo again > /dev/stdout; touch /root/x 2>/dev/null || echo refused'],
      uid: 1000,
      gid: 1000,
      cwd: '/made/on the way',
    });
    assert.equal(text, '1000\n1000 29\n/made/on the way\nagain\nrefused\n');
  });

  test('a user is named as in the configuration of an image, and looked up in the files of the guest', async () => {
    await using instance = await boot(bench);
    const as = (user: string, home = true): ReturnType<typeof finish> =>
      finish(instance, {
        argv: ['sh', '-c', 'exec 2>/dev/null; echo $(id -u):$(id -G):$HOME'],
        account: { user, home },
      });
    const unknown = (what: string) => (error: unknown) =>
      isFault(error, 'USER_UNKNOWN') && error.detail['what'] === what;
    await assert.rejects(as('ann'), unknown('user'));
    await runScript(
      instance,
      `printf ':x:1:1::/:\nodd\nann:x:x:1::/:\nann:x:1000:100::/home/ann:/bin/sh\n' >> /etc/passwd
       printf 'audio:x:29:bob,ann\nbad:x:nan:ann\n' >> /etc/group`,
    );
    for (const [user, shown] of [
      ['ann', '1000:100 29:/home/ann'],
      ['1000', '1000:100 29:/home/ann'],
      ['ann:audio', '1000:29:/home/ann'],
      ['1000:7', '1000:7 29:/home/ann'],
      ['4242', '4242:0:/'],
      ['root', '0:0:/root'],
    ] as const) {
      assert.equal((await as(user)).text, `${shown}\n`, user);
    }
    assert.equal((await as('ann', false)).text, '1000:100 29:\n');
    await assert.rejects(as('ann:nix'), unknown('group'));
    // A FIFO and a file without an end count as files without rows.
    await runScript(instance, 'rm /etc/passwd /etc/group; mkfifo /etc/passwd; ln -s /dev/zero /etc/group');
    await assert.rejects(as('ann'), unknown('user'));
    const ids = ['awk', '/^[UG]id:/ { print $2 }', '/proc/self/status'];
    assert.equal((await finish(instance, { argv: ids, account: { user: '1000', home: true } })).text, '1000\n0\n');
    assert.equal((await finish(instance, { argv: ids, uid: 7, gid: 8 })).text, '7\n8\n');
  });

  test('programs are looked up as a shell does, scripts without a first line included', async () => {
    await using instance = await boot(bench);
    await runScript(
      instance,
      'mkdir /p; echo "echo script \\$1" > /p/run; chmod 755 /p/run; touch /p/no; echo x > /bin/zz',
    );
    const env = { PATH: '/p:/bin' };
    assert.deepEqual(await finish(instance, { argv: ['run', 'me'], env }), { text: 'script me\n', exitCode: 0 });
    assert.deepEqual(await finish(instance, { argv: ['no'], env }), { text: 'no: Permission denied\n', exitCode: 126 });
    assert.deepEqual(await finish(instance, { argv: ['nix'], env }), {
      text: 'nix: command not found\n',
      exitCode: 127,
    });
    assert.equal((await finish(instance, { argv: ['sh', '-c', 'exit 0'], env, cwd: '/etc/passwd' })).exitCode, 126);
  });

  test('the sandbox looks like a machine of its own', async () => {
    await using instance = await boot(bench);
    const { stdout } = await runScript(
      instance,
      `hostname; cat /etc/hostname; echo $$; ls /proc | grep -c '^[0-9]'; readlink /proc/1/root
       awk '{print $2}' /proc/mounts | grep -vE '^/(proc|sys|dev|etc)' ; test -c /dev/null && test -d /dev/pts && echo dev
       ${bench.initIsSafe ? 'kill -9 1;' : ''} kill -9 -1; echo alive; ulimit -n; stat -c %a /tmp /dev/shm`,
    );
    const lines = stdout.trim().split('\n');
    assert.deepEqual(lines.slice(0, 2), ['box', 'box']);
    assert.ok(Number(lines[2]) < 100 && Number(lines[3]) < 10, 'only its own processes');
    assert.deepEqual(lines.slice(4), ['/', '/', 'dev', 'alive', '65536', '755', '1777']);
  });
}

function describeLimits(bench: GuestBench): void {
  test('a run starts after something removed the folder for the files of runs', async () => {
    await rm(`${bench.stateDir}/tmp`, { recursive: true, force: true });
    await using instance = await boot(bench);
    assert.equal((await runScript(instance, 'echo x > /x && cat /x')).stdout, 'x\n');
  });
  test('memory that is not there kills the one who wants it, and says so', async () => {
    await using instance = await bench.driver.start(bootSpec(bench.layers, { memoryMib: 128 }), soon());
    const hungry = await runScript(instance, 'tail /dev/zero');
    assert.equal(hungry.outcome.outOfMemory, true);
    const innocent = await runScript(instance, 'kill -9 $$');
    assert.equal(innocent.outcome.outOfMemory, false);
    assert.equal((await runScript(instance, 'echo alive')).stdout, 'alive\n');
  });

  test('a system that was halted runs nothing more, and says why', async () => {
    await using instance = await boot(bench);
    const { outcome } = await runScript(instance, `echo kept > /kept; ${bench.halt}; sleep 60`);
    assert.notEqual(outcome.signal, -1);
    assert.deepEqual(await finish(instance, {}), {
      text: 'the system was halted, or has no memory left\n',
      exitCode: 126,
    });
    assert.ok((await changesOf(instance)).has('kept'));
  });

  test('a command line of megabytes arrives', async () => {
    await using instance = await boot(bench);
    const words = Array.from({ length: 20_000 }, (_, index) => `word number ${index}`);
    const long = 'x'.repeat(100_000);
    const env = { ...SHELL.env, A: long, B: long, C: long };
    const { text } = await finish(instance, { argv: ['sh', '-c', 'echo $# ${#A} ${#C}', ...words], env });
    assert.equal(text, '19999 100000 100000\n');
  });
}
