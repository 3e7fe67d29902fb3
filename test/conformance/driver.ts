import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isFault } from '../../src/contract/errors.ts';
import { LoopWatch } from '../support/time/stopwatch.ts';
import {
  type Bench,
  booted,
  bootSpec,
  changesOf,
  command,
  finish,
  MIB,
  PATH,
  run,
  shell,
  SIGKILL,
  SIGTERM,
  soon,
} from './bench.ts';
import { describePorts } from './ports.ts';
import { describeSnapshots } from './snapshots.ts';

/**
 * Requirements for every sandbox driver. A driver is finished when it passes them; exceptions are listed here with
 * their reasons.
 */
export function driverConformance(name: string, open: () => Promise<Bench>): void {
  describe(`${name} driver`, { timeout: 600_000 }, () => {
    describeCommands(open);
    describeStreams(open);
    describePorts(() => booted(open));
    describeChanges(open);
    describeSnapshots(open);
    describeEnds(open);
  });
}

function describeCommands(open: () => Promise<Bench>): void {
  test('start() reports how a command ended as an outcome, never as an error', async () => {
    await using box = await booted(open);
    const ends = [
      [command(['true']), 0],
      [command(['false']), 1],
      [shell('exit 42'), 42],
      [shell('exit 255'), 255],
    ] as const;
    for (const [what, exitCode] of ends) {
      const { outcome } = await run(box.instance, what);
      assert.deepEqual([outcome.exitCode, outcome.signal], [exitCode, -1], what.argv.join(' '));
    }
  });

  test('start() reports a program that is not there as 127, and one that cannot be executed as 126', async () => {
    await using box = await booted(open);
    const missing = await run(box.instance, command(['no-such-program']));
    assert.equal(missing.outcome.exitCode, 127);
    assert.match(missing.stderr, /no-such-program/u);
    const setup = await run(box.instance, shell('touch /tmp/plain'));
    assert.equal(setup.outcome.exitCode, 0);
    const plain = await run(box.instance, command(['/tmp/plain']));
    assert.equal(plain.outcome.exitCode, 126);
  });

  test('start() gives the command its directory, environment and identity, and nothing of ours', async () => {
    await using box = await booted(open);
    const where = await run(box.instance, command(['pwd'], { cwd: '/made/on/demand' }));
    assert.equal(where.stdout, '/made/on/demand\n');
    const env = await run(box.instance, command(['env'], { env: { PATH, GREETING: 'hello world' } }));
    const names = env.stdout.split('\n').map((line) => line.split('=', 1)[0]);
    assert.ok(env.stdout.includes('GREETING=hello world\n'));
    assert.deepEqual(
      names.filter((key) => key !== '' && !['PATH', 'GREETING', 'PWD'].includes(key ?? '')),
      [],
    );
    const who = await run(box.instance, command(['id', '-u'], { uid: 1234, gid: 4321 }));
    assert.equal(who.stdout, '1234\n');
    const group = await run(box.instance, command(['id', '-g'], { uid: 1234, gid: 4321 }));
    assert.equal(group.stdout, '4321\n');
    const host = await run(box.instance, command(['hostname']));
    assert.equal(host.stdout, 'box\n');
  });

  test('an instance runs several commands, one after the other and at the same time', async () => {
    await using box = await booted(open);
    const sleeper = await box.instance.start(command(['sleep', '100']), soon());
    const words = await Promise.all(['a', 'b', 'c'].map((word) => run(box.instance, command(['echo', word]))));
    assert.deepEqual(
      words.map(({ stdout }) => stdout),
      ['a\n', 'b\n', 'c\n'],
    );
    await sleeper.kill(SIGKILL);
    const { outcome } = await finish(sleeper);
    assert.deepEqual([outcome.exitCode, outcome.signal], [-1, SIGKILL]);
  });
}

function describeStreams(open: () => Promise<Bench>): void {
  test('output is byte-exact and knows its stream', async () => {
    await using box = await booted(open);
    const { stdout, stderr } = await run(box.instance, shell(String.raw`printf 'a\000\377\n\n'; echo oops >&2`));
    assert.equal(stdout, 'a\0\xff\n\n');
    assert.equal(stderr, 'oops\n');
  });

  test('output of any length arrives whole, also to a reader that is slow to begin', async () => {
    await using box = await booted(open);
    const bytes = 3 * MIB + 17;
    const process = await box.instance.start(command(box.bench.flood(bytes)), soon());
    // Other traffic continues in the meantime: unread output blocks nothing else.
    assert.equal((await run(box.instance, command(['echo', 'through']))).stdout, 'through\n');
    let total = 0;
    for await (const chunk of process.output) total += chunk.bytes.byteLength;
    assert.equal(total, bytes);
    assert.equal((await process.outcome).exitCode, 0);
  });

  test('stdin is what was written, until it is closed; without stdin a command reads its end', async () => {
    await using box = await booted(open);
    const cat = await box.instance.start(command(['cat'], { stdin: true }), soon());
    const reading = finish(cat);
    await cat.write(Buffer.from('first\0'));
    await cat.write(Buffer.alloc(200_000, 'x'));
    await cat.closeStdin();
    const { stdout, outcome } = await reading;
    assert.equal(outcome.exitCode, 0);
    assert.equal(stdout.length, 200_006);
    assert.ok(stdout.startsWith('first\0xxx'));
    const closed = await run(box.instance, command(['cat']));
    assert.deepEqual([closed.stdout, closed.outcome.exitCode], ['', 0]);
  });

  test('writing to a command that has ended is ignored', async () => {
    await using box = await booted(open);
    const process = await box.instance.start(command(['true'], { stdin: true }), soon());
    await finish(process);
    await process.write(Buffer.from('too late'));
    await process.closeStdin();
    await process.kill(SIGTERM);
  });

  test('a child that keeps the pipe does not keep the output open', async () => {
    await using box = await booted(open);
    const { stdout, outcome } = await run(box.instance, shell('sleep 1000 & echo done'));
    assert.equal(stdout, 'done\n');
    assert.equal(outcome.exitCode, 0);
  });

  test('kill() reaches the whole process group, and says which signal ended the command', async () => {
    await using box = await booted(open);
    const process = await box.instance.start(shell('echo up; sleep 1000; echo never'), soon());
    const chunks: string[] = [];
    for await (const { bytes } of process.output) {
      chunks.push(Buffer.from(bytes).toString());
      await process.kill(SIGTERM);
    }
    assert.equal(chunks.join(''), 'up\n');
    const { exitCode, signal } = await process.outcome;
    assert.deepEqual([exitCode, signal], [-1, SIGTERM]);
  });
}

function describeChanges(open: () => Promise<Bench>): void {
  test('changes() yields nothing when nothing was changed', async () => {
    await using box = await booted(open);
    await run(box.instance, shell('echo only output; cat /proc/sys/kernel/random/boot_id'));
    assert.deepEqual([...(await changesOf(box.instance)).keys()], []);
  });

  test('changes() has what was written, and ends what still runs', async () => {
    await using box = await booted(open);
    await box.instance.start(command(['sleep', '1000']), soon());
    const script = 'mkdir -p /srv/a && echo one > /srv/a/f && ln -s f /srv/a/l && touch /srv/gone && rm /srv/gone';
    assert.equal((await run(box.instance, shell(script))).outcome.exitCode, 0);
    const changes = await changesOf(box.instance);
    assert.deepEqual(changes.get('srv/a/f'), { type: 'file', content: 'one\n' });
    assert.equal(changes.get('srv/a/l')?.type, 'symlink');
    assert.equal(changes.get('srv/a')?.type, 'directory');
    const others = [...changes.keys()].filter((path) => !['', '.', 'srv'].includes(path) && !path.startsWith('srv/a'));
    assert.deepEqual(others, []);
  });

  test('changes() marks a removed file of the image as a whiteout', async () => {
    await using box = await booted(open);
    const { imageFile } = box.bench;
    assert.equal((await run(box.instance, command(['rm', imageFile]))).outcome.exitCode, 0);
    assert.deepEqual((await changesOf(box.instance)).get(imageFile.slice(1)), { type: 'character', content: '' });
  });

  test('instances of one image know nothing of each other', async () => {
    await using bench = await open();
    const instances = await Promise.all([1, 2].map(async () => bench.driver.start(bootSpec(bench), soon())));
    await using stack = new AsyncDisposableStack();
    for (const instance of instances) stack.use(instance);
    assert.notEqual(instances[0]?.facts.bootId, instances[1]?.facts.bootId);
    const changes = await Promise.all(
      instances.map(async (instance, index) => {
        await run(instance, shell(`mkdir -p /srv && echo ${index} > /srv/same`));
        return (await changesOf(instance)).get('srv/same')?.content;
      }),
    );
    assert.deepEqual(changes, ['0\n', '1\n']);
  });
}

function describeEnds(open: () => Promise<Bench>): void {
  test('start() with an aborted signal rejects with its reason and starts nothing', async () => {
    await using bench = await open();
    const reason = new Error('changed my mind');
    await assert.rejects(bench.driver.start(bootSpec(bench), AbortSignal.abort(reason)), reason);
    assert.equal(await bench.live(), 0);
  });

  test('start() that is aborted on its way leaves nothing', async () => {
    await using bench = await open();
    await bench.driver.warm();
    for (const afterMs of [0, 10, 40]) {
      const booting = bench.driver.start(bootSpec(bench), AbortSignal.timeout(afterMs));
      // A driver may be faster than the timer.
      const instance = await booting.catch((error: unknown) => {
        assert.equal((error as Error).name, 'TimeoutError');
      });
      await instance?.[Symbol.asyncDispose]();
      assert.equal(await bench.live(), 0, `aborted after ${afterMs} ms`);
    }
  });

  test('an instance may be disposed of twice, and of it nothing is left', async () => {
    await using bench = await open();
    const instance = await bench.driver.start(bootSpec(bench), soon());
    assert.ok((await bench.live()) > 0);
    await Promise.all([instance[Symbol.asyncDispose](), instance[Symbol.asyncDispose]()]);
    await instance[Symbol.asyncDispose]();
    assert.equal(await bench.live(), 0);
  });

  test('collect() takes nothing from an instance that runs, and the next start works', async () => {
    await using bench = await open();
    await using instance = await bench.driver.start(bootSpec(bench), soon());
    await bench.driver.collect({ memoryUnusedSinceMs: Infinity, filesUnusedSinceMs: Infinity, dryRun: false });
    assert.equal((await run(instance, command(['echo', 'here']))).stdout, 'here\n');
    await instance[Symbol.asyncDispose]();
    await bench.driver.collect({ memoryUnusedSinceMs: Infinity, filesUnusedSinceMs: Infinity, dryRun: false });
    await using next = await bench.driver.start(bootSpec(bench), soon());
    assert.equal((await run(next, command(['echo', 'here']))).stdout, 'here\n');
  });

  test('disposing while a command runs ends it', async () => {
    await using bench = await open();
    const instance = await bench.driver.start(bootSpec(bench), soon());
    const process = await instance.start(command(['sleep', '1000']), soon());
    const ended = process.outcome.then(
      () => 'ended',
      () => 'lost',
    );
    using watch = new LoopWatch();
    await instance[Symbol.asyncDispose]();
    assert.ok(['ended', 'lost'].includes(await ended));
    assert.ok(watch.ms < 2_000, 'gone within two seconds');
    assert.equal(await bench.live(), 0);
  });

  test('a guest that goes away is told by lost, and its commands reject with GUEST_LOST', async () => {
    await using box = await booted(open);
    const process = await box.instance.start(command(box.bench.crash), soon());
    await assert.rejects(process.outcome, (error) => isFault(error, 'GUEST_LOST'));
    const lost = await box.instance.lost;
    assert.ok(isFault(lost, 'GUEST_LOST'), String(lost));
    await assert.rejects(box.instance.start(command(['true']), soon()), (error) => isFault(error, 'GUEST_LOST'));
  });

  test('the driver takes its instances with it', async () => {
    const bench = await open();
    await bench.driver.start(bootSpec(bench), soon());
    await bench.driver[Symbol.asyncDispose]();
    assert.equal(await bench.live(), 0);
    await bench[Symbol.asyncDispose]();
  });

  test('inspect() tells what the host offers', async () => {
    await using bench = await open();
    const checks = await bench.driver.inspect(soon());
    assert.ok(checks.length > 0);
    for (const { name, status, detail } of checks) assert.ok(name !== '' && detail !== '' && status !== 'failed', name);
  });
}
