import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { answers, connect, type HttpContree, type ConnectOptions } from '../../src/client/index.ts';
import { engineLeft, isOlder } from '../../src/client/local/engine.ts';
import { isFault } from '../../src/contract/errors.ts';
import { until } from '../support/time/until.ts';

const ENGINE = new URL('../support/scripted/engine.ts', import.meta.url).pathname;

interface Place extends AsyncDisposable {
  readonly folder: string;
  readonly socket: string;
  options(engineArguments?: readonly string[], version?: string, env?: NodeJS.ProcessEnv): ConnectOptions;
  /** Pids of the engines started here. */
  starts(): number[];
}

/** A new data directory; disposing ends its engines and removes it. */
async function place(): Promise<Place> {
  const folder = await mkdtemp(join(tmpdir(), 'contree-connect-'));
  const starts = (): number[] => {
    const file = join(folder, 'starts');
    return existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n').map(Number) : [];
  };
  return {
    folder,
    socket: join(folder, 'engine.sock'),
    starts,
    options: (extra = [], version = '1.2.3', env = {}) => ({
      version,
      program: 'test',
      server: {
        local: {
          socket: join(folder, 'engine.sock'),
          startLock: join(folder, 'start.lock'),
          command: {
            argv: [process.execPath, ENGINE, `--data-dir=${folder}`, ...extra],
            env: { ...process.env, ...env },
            log: join(folder, 'engine.log'),
          },
        },
      },
    }),
    [Symbol.asyncDispose]: async () => {
      for (const pid of starts()) if (lives(pid)) process.kill(pid, 'SIGTERM');
      await until(() => !starts().some(lives));
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function lives(pid: number): boolean {
  try {
    process.kill(pid, 0);
    // A child that has exited stays in the process table until Node reaps it.
    return !/^State:\s+Z/mu.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

async function stopped(pid: number | undefined): Promise<void> {
  await until(() => pid === undefined || !lives(pid));
}

test('the first request starts an engine; the next client finds it', async () => {
  await using here = await place();
  await using first = await connect(here.options());
  assert.equal((await first.images.get('tag:base')).tag, 'base');
  await using second = await connect(here.options());
  assert.equal((await second.engine.status()).pid, here.starts()[0]);
  assert.equal(here.starts().length, 1);
  assert.equal(statSync(here.socket).mode & 0o777, 0o600);
});

test('twenty clients at once start one engine', async () => {
  await using here = await place();
  const connections = await Promise.all(Array.from({ length: 20 }, () => connect(here.options())));
  await using all = new AsyncDisposableStack();
  for (const connection of connections) all.use(connection);
  const pids = await Promise.all(connections.map(async ({ engine }) => (await engine.status()).pid));
  assert.equal(new Set(pids).size, 1);
  assert.deepEqual(here.starts(), [pids[0]]);
});

test('twenty processes at once start one engine', async () => {
  await using here = await place();
  const program = `
    import { connect } from ${JSON.stringify(new URL('../../src/client/index.ts', import.meta.url).href)};
    await using connection = await connect(${JSON.stringify(here.options())});
    console.log((await connection.engine.status()).pid);
  `;
  const outputs = await Promise.all(
    Array.from({ length: 20 }, async () => {
      const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      return (await Array.fromAsync(child.stdout)).join('');
    }),
  );
  assert.equal(new Set(outputs).size, 1, outputs.join(''));
  assert.equal(here.starts().length, 1);
});

test('an engine that left is started again by the next request of the same client', async () => {
  await using here = await place();
  await using connection = await connect(here.options());
  const [first] = here.starts();
  await connection.engine.stop({ only_idle: true });
  await stopped(first);
  assert.equal((await connection.images.get('tag:base')).tag, 'base');
  assert.equal(here.starts().length, 2);
});

test('an engine killed with SIGKILL leaves a socket that stops nobody', async () => {
  await using here = await place();
  await using connection = await connect(here.options());
  const first = (await connection.engine.status()).pid;
  process.kill(first, 'SIGKILL');
  await stopped(first);
  assert.ok(existsSync(here.socket));
  await using again = await connect(here.options());
  assert.notEqual((await again.engine.status()).pid, first);
});

test('an older idle engine is replaced, an older busy one is told about, a newer one is used', async () => {
  await using here = await place();
  await using old = await connect(here.options(['--engine-version=1.0.9'], '1.0.9'));
  const { uuid } = await old.runs.start({ command: 'sleep', image: 'tag:base' });
  const notices: string[] = [];
  const newer = { ...here.options([], '1.0.10'), notice: (text: string) => void notices.push(text) };
  {
    await using busy = await connect(newer);
    assert.equal((await busy.engine.status()).version, '1.0.9');
    assert.match(notices.join(), /version 1\.0\.9 is busy/u);
    await busy.operations.cancel(uuid);
  }
  await using idle = await connect({ ...newer, ...here.options(['--engine-version=1.0.10'], '1.0.10') });
  assert.equal((await idle.engine.status()).version, '1.0.10');
  await using older = await connect(here.options([], '1.0.9'));
  assert.equal((await older.engine.status()).version, '1.0.10');
  assert.equal(here.starts().length, 2);
});

test('an engine is told to give freed buffers back, unless its owner tells it otherwise', async () => {
  await using here = await place();
  await using _connection = await connect(here.options());
  await using there = await place();
  await using _other = await connect(there.options([], '1.2.3', { MALLOC_MMAP_THRESHOLD_: '1' }));
  const thresholds = [...here.starts(), ...there.starts()].map(
    (pid) => /(?:^|\0)MALLOC_MMAP_THRESHOLD_=(\d+)/u.exec(readFileSync(`/proc/${pid}/environ`, 'utf8'))?.[1],
  );
  assert.deepEqual(thresholds, ['131072', '1']);
});

test('an idle engine leaves, one with work or a follower stays', async () => {
  await using here = await place();
  // Longer than the first request can take on a busy machine.
  await using connection = await connect(here.options(['--idle-ms=1000']));
  const [pid = 0] = here.starts();
  const { uuid } = await connection.runs.start({ command: 'sleep', image: 'tag:base' });
  // Only time can show that it stays: it is another process, and twice its idle time has to pass.
  await delay(2_000);
  assert.ok(lives(pid), 'it has work');
  await connection.operations.cancel(uuid);
  await stopped(pid);
  assert.ok(!existsSync(here.socket));
});

test('SIGTERM ends it in good order', async () => {
  await using here = await place();
  await using connection = await connect(here.options());
  const [pid = 0] = here.starts();
  const { uuid } = await connection.runs.start({ command: 'sleep', image: 'tag:base' });
  const following = Promise.withResolvers<void>();
  const follow = async (): Promise<void> => {
    for await (const { type } of connection.operations.events(uuid, { follow: true }))
      if (type === 'spawn') following.resolve();
  };
  const followed = follow();
  await following.promise;
  process.kill(pid, 'SIGTERM');
  await stopped(pid);
  assert.ok(!existsSync(here.socket));
  assert.match(readFileSync(join(here.folder, 'engine.log'), 'utf8'), /"why":"SIGTERM".*leaving/u);
  // The scripted engine forgets its operations, so the follower learns that this one is gone.
  await assert.rejects(followed, (error: unknown) => isFault(error, 'OPERATION_NOT_FOUND'));
});

test('why an engine cannot start reaches the client: its fault, or its last words', async () => {
  await using here = await place();
  await assert.rejects(connect(here.options(['--fail=driver'])), (error: unknown) => {
    assert.ok(isFault(error, 'DRIVER_UNAVAILABLE'));
    assert.match(error.message, /no QEMU/u);
    return true;
  });
  await assert.rejects(connect(here.options(['--fail=crash'])), (error: unknown) => {
    assert.ok(isFault(error, 'ENGINE_UNAVAILABLE'));
    assert.match(error.message, /cannot find the kernel/u);
    return true;
  });
  assert.equal(await answers(here.socket), false);
});

test('a program that is not an engine, and a client that gives up', async () => {
  await using here = await place();
  const options = here.options();
  assert.ok('local' in options.server);
  const { local } = options.server;
  const command = { ...local.command, argv: ['/nonexistent/node'] as const };
  const absent = connect({ ...options, server: { local: { ...local, command } } });
  await assert.rejects(absent, (error: unknown) => isFault(error, 'ENGINE_UNAVAILABLE'));
  await assert.rejects(connect(options, AbortSignal.abort(new Error('no more'))), /no more/u);
  assert.deepEqual(here.starts(), []);
});

test('a socket that somebody else serves is not taken for an engine', async () => {
  await using here = await place();
  const stranger = createServer((socket) => socket.end('220 mail ready\r\n'));
  stranger.listen(here.socket);
  await once(stranger, 'listening');
  await assert.rejects(connect(here.options()), (error: unknown) => isFault(error, 'ENGINE_UNAVAILABLE'));
  stranger.close();
  await writeFile(join(here.folder, 'starts'), '');
});

test('a client leaves no handle behind', async () => {
  await using here = await place();
  const before = process.getActiveResourcesInfo().filter((name) => name.includes('Wrap')).length;
  for (let round = 0; round < 5; round += 1) {
    await using connection: HttpContree = await connect(here.options());
    await connection.images.list({});
  }
  const patience = AbortSignal.timeout(5_000);
  const handles = (): number => process.getActiveResourcesInfo().filter((name) => name.includes('Wrap')).length;
  // Closed sockets are released in a later turn of the event loop.
  while (handles() > before + 1) {
    assert.ok(!patience.aborted, `${before} → ${handles()}`);
    await new Promise(setImmediate);
  }
});

test('an engine has left when its process has ended, which may be long after it stopped to listen', async () => {
  await using at = await place();
  const engine = spawn('sh', ['-c', 'read line']);
  let left = false;
  const leaving = engineLeft(at.socket, engine.pid!).then(() => (left = true));
  assert.equal(await answers(at.socket), false);
  assert.equal(left, false);
  engine.stdin.end('\n');
  await leaving;
  await engineLeft(at.socket, process.pid);
});

test('isOlder compares versions by number', () => {
  assert.ok(isOlder({ version: '0.9.0' }, '0.10.0'));
  assert.ok(isOlder({ version: '1.0' }, '1.0.1'));
  assert.ok(isOlder({ version: 'scripted' }, '0.0.1'));
  assert.ok(!isOlder({ version: '1.2.3' }, '1.2.3'));
  assert.ok(!isOlder({ version: '2.0.0' }, '1.9.9'));
});
