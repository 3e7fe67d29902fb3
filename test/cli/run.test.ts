import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { commandOf } from '../../src/cli/sandbox-options.ts';
import type { InstanceSpawnRequest } from '../../src/contract/run.ts';
import { collectChild, openCli, type CliBench } from '../support/cli-bench.ts';
import { PROGRAMS } from '../support/scripted/process.ts';
import type { ScriptedContree } from '../support/scripted/contree.ts';
import { until } from '../support/time/until.ts';

async function bench(): Promise<CliBench & { image: string }> {
  const cli = await openCli();
  return Object.assign(cli, { image: cli.contree.addImage({}, 'base') });
}

/** Waits until the command has reached the engine and is running. */
async function running(contree: ScriptedContree): Promise<string> {
  let uuid = '';
  await until(async () => {
    const [operation] = await contree.operations.list({ status: 'EXECUTING' });
    uuid = operation?.uuid ?? '';
    const events = operation && (await Array.fromAsync(contree.operations.events(uuid, {})));
    return events?.some(({ type }) => type === 'spawn') ?? false;
  });
  return uuid;
}

test('the exit code is the command’s, and its output comes byte by byte', async () => {
  await using cli = await bench();
  const { code, bytes } = await cli.spawn(['run', 'base', '--', 'bytes']);
  assert.deepEqual([code, bytes.byteLength], [0, 256]);
  assert.deepEqual(bytes, Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)));
  const warned = await cli.spawn(['run', 'tag:base', '--', 'warn', 'careful']);
  assert.deepEqual([warned.code, warned.stdout, warned.stderr], [0, '', 'careful\n']);
  for (const expected of [0, 1, 7, 255]) {
    assert.equal((await cli.run(['run', cli.image, '--', 'exit', String(expected)])).code, expected);
  }
  const absent = await cli.run(['run', 'base', 'nonsense']);
  assert.deepEqual([absent.code, absent.stderr], [127, 'nonsense: not found\n']);
});

test('standard input is forwarded from a pipe and from a file, whole and to its end', async () => {
  await using cli = await bench();
  const input = Buffer.alloc(3_000_000, 'contree\u00e9');
  const piped = await cli.spawn(['run', 'base', '--', 'cat'], { input });
  assert.equal(piped.code, 0);
  assert.ok(piped.bytes.equals(input));
  assert.equal((await cli.spawn(['run', 'base', '--', 'cat'], { input: '' })).stdout, '');
  const child = cli.start(['run', 'base', '--', 'true']);
  assert.equal((await collectChild(child)).code, 0, 'input that never ends does not hold the command');
});

test('what is not input is not forwarded: /dev/null, a terminal without -i, --detach', async () => {
  await using cli = await bench();
  const args = [
    new URL('../../bin/contree', import.meta.url).pathname,
    '--data-dir',
    cli.folder,
    'run',
    'base',
    'true',
  ];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'ignore'] });
  await new Promise((resolve) => child.once('exit', resolve));
  await cli.run(['run', '--detach', 'base', 'true'], { input: 'x' });
  assert.deepEqual(
    cli.contree.spawned.map(({ stdin }) => stdin),
    [undefined, undefined],
  );
});

test('Ctrl-C is the command’s first, and ends the operation the second time', async () => {
  await using cli = await bench();
  const polite = cli.start(['run', 'base', '--', 'sleep']);
  const ended = collectChild(polite);
  await running(cli.contree);
  polite.kill('SIGINT');
  assert.equal((await ended).code, 130);
  assert.deepEqual(cli.contree.signalsSent, ['INT']);

  const cancelled = Promise.withResolvers<string>();
  cli.contree.programs['stubborn'] = () => new Promise(() => undefined);
  cli.contree.operations.cancel = async (uuid) => cancelled.resolve(uuid);
  const stubborn = cli.start(['run', 'base', '--', 'stubborn']);
  const gone = collectChild(stubborn);
  const operation = await running(cli.contree);
  stubborn.kill('SIGINT');
  await until(() => cli.contree.signalsSent.length >= 2);
  stubborn.kill('SIGINT');
  assert.equal(await cancelled.promise, operation);
  stubborn.kill('SIGKILL');
  await gone;
});

test('SIGTERM is passed on', async () => {
  await using cli = await bench();
  const child = cli.start(['run', 'base', '--', 'sleep']);
  const ended = collectChild(child);
  await running(cli.contree);
  child.kill('SIGTERM');
  assert.equal((await ended).code, 143);
  assert.deepEqual(cli.contree.signalsSent, ['TERM']);
});

test('every option reaches the engine', async () => {
  await using cli = await bench();
  const local = join(cli.folder, 'script.sh');
  writeFileSync(local, '#!/bin/sh\n', { mode: 0o755 });
  const options = [
    '--disposable',
    '-e',
    'A=1',
    '-e',
    'HOME_OF=',
    '--env',
    'FROM_HERE',
    '-e',
    'ABSENT',
    '--preserve-env',
    '-w',
    '/srv',
    '-u',
    '1000:50',
    '--hostname',
    'box',
    '--timeout',
    '9',
    '--cpus',
    '2',
    '--memory',
    '2G',
    '--disk',
    '10g',
    '--network',
    'allowlist',
    '--allow',
    'packages.example.org',
    '--allow',
    '10.0.0.1',
    '--file',
    `${local}:/usr/bin/script`,
    '--file',
    `${local}:/plain:0600`,
    '--state',
    'state-1',
  ];
  const { code, stderr } = await cli.run(['run', ...options, 'base', '--', 'true', '-x', '--y'], {
    env: { FROM_HERE: 'yes' },
  });
  assert.equal(code, 0, stderr);
  const [request = assert.fail()] = cli.contree.spawned;
  const { files = {}, stdin: _stdin, ...rest } = request;
  assert.deepEqual(rest, {
    image: 'tag:base',
    command: 'true',
    args: ['-x', '--y'],
    uid: 1000,
    gid: 50,
    disposable: true,
    env: { A: '1', HOME_OF: '', FROM_HERE: 'yes', ABSENT: null },
    preserve_env: true,
    cwd: '/srv',
    hostname: 'box',
    timeout: 9,
    resources_limits: { cpus: 2, memory_mib: 2048, max_layer_bytes: 10 * 2 ** 30 },
    networking: { enabled: true, mode: 'allowlist', allow: ['packages.example.org', '10.0.0.1'] },
    directory_states: ['state-1'],
  } satisfies InstanceSpawnRequest);
  assert.deepEqual(
    Object.entries(files).map(([path, { mode }]) => [path, mode]),
    [
      ['/usr/bin/script', '0755'],
      ['/plain', '0600'],
    ],
  );
});

test('options may stand behind the image when "--" says where the command begins; else they are the command’s', async () => {
  await using cli = await bench();
  await cli.run(['run', 'base', '--disposable', '--json', '--', 'echo', '--keep']);
  await cli.run(['run', 'base', 'echo', '--disposable', '-x']);
  assert.deepEqual(
    cli.contree.spawned.map(({ disposable, args }) => [disposable, args]),
    [
      [true, ['--keep']],
      [false, ['--disposable', '-x']],
    ],
  );
});

test('commandOf: one word that only a shell understands is a shell line', () => {
  assert.deepEqual(commandOf(['ls'], {}), { command: 'ls', args: [] });
  assert.deepEqual(commandOf(['echo a | wc'], {}), { command: 'echo a | wc', shell: true });
  assert.deepEqual(commandOf(['echo', 'a | wc'], {}), { command: 'echo', args: ['a | wc'] });
  assert.deepEqual(commandOf(['echo', '$HOME'], { shell: true }), { command: 'echo $HOME', shell: true });
  assert.deepEqual(commandOf([], { tty: true }), { command: '/bin/sh' });
  assert.throws(() => commandOf([], {}), /a command is required/u);
});

test('--tag names the new image, and --json tells all of it', async () => {
  await using cli = await bench();
  const { stdout, stderr } = await cli.run(['run', '--tag', 'made', 'base', '--', 'touch', '/new'], { terminal: true });
  const image = (await cli.contree.images.get('tag:made')).uuid;
  assert.deepEqual([stdout, stderr], ['', `image ${image} tagged made\n`]);
  const told = await cli.run(['run', '--json', 'base', '--', 'echo', 'hi']);
  const operation = JSON.parse(told.stdout) as { status: string; metadata: { result: { stdout: { value: string } } } };
  assert.deepEqual([operation.status, operation.metadata.result.stdout.value], ['SUCCESS', 'hi\n']);
});

test('what cannot be is refused before anything runs', async () => {
  await using cli = await bench();
  const mistakes: readonly (readonly [readonly string[], RegExp])[] = [
    [['base'], /a command is required/u],
    [['--disposable', '--tag', 'x', 'base', 'true'], /keeps no image/u],
    [['--user', 'a:b:c', 'base', 'true'], /use USER or USER:GROUP/u],
    [['--memory', 'lots', 'base', 'true'], /--memory takes a size/u],
    [['--memory', '64M', 'base', 'true'], /at least 128\.0 MiB/u],
    [['--cpus', '0', 'base', 'true'], /--cpus takes a whole number, 1 to \d+, not "0"/u],
    [['--disk', '99999G', 'base', 'true'], /--disk takes a size .* at most/u],
    [['--network', 'vpn', 'base', 'true'], /none, public or allowlist/u],
    [['--network', 'allowlist', 'base', 'true'], /--allow HOST/u],
    [['--network', 'public', '--allow', 'example.org', 'base', 'true'], /no effect/u],
    [['base', '--workdir', '/x', 'true'], /options come before the image/u],
    [['--env', '=x', 'base', 'true'], /NAME=VALUE/u],
    [['--file', 'nowhere', 'base', 'true'], /LOCAL:\/PATH/u],
    [['--file', '/nowhere:/x', 'base', 'true'], /\/nowhere is not a file/u],
    [['--timeout', '-1', 'base', 'true'], /whole number/u],
  ];
  for (const [args, message] of mistakes) {
    const { code, stderr } = await cli.run(['run', ...args]);
    assert.equal(code, 2, args.join(' '));
    assert.match(stderr, message);
  }
  assert.equal(cli.contree.spawned.length, 0);
  assert.equal((await cli.run(['run', 'nobody', 'true'])).code, 4);
});

test('an operation that fails ends with the exit code of its fault', async () => {
  await using cli = await bench();
  const { uuid } = await cli.contree.images.import({ registry: { url: 'missing' } });
  cli.contree.runs.start = async () => ({ uuid });
  const { get } = cli.contree.operations;
  cli.contree.operations.get = async (id) => ({ ...(await get(id)), error_code: 'DISK_FULL' });
  const { code, stderr } = await cli.run(['run', 'base', 'true']);
  assert.equal(code, 6);
  assert.match(stderr, /^error: .+\nFree space with/u);
});

test('with -it the command gets a terminal of our size, in raw mode, and our keys', async () => {
  await using cli = await bench();
  const program = new URL('../../bin/contree', import.meta.url).pathname;
  const line = `stty cols 90 rows 33; ${process.execPath} ${program} --data-dir ${cli.folder} run -it base -- greet; stty -a`;
  cli.contree.programs['greet'] = (context) => {
    context.out('ready\r\n');
    return PROGRAMS['cat']!(context);
  };
  const child = spawn('script', ['-qefc', line, '/dev/null'], { stdio: ['pipe', 'pipe', 'inherit'] });
  let screen = '';
  child.stdout.on('data', (chunk: Buffer) => (screen += chunk.toString()));
  const ended = new Promise((resolve) => child.once('exit', resolve));
  // Output is shown once we are connected, and therefore in raw mode.
  await until(() => screen.includes('ready'));
  const operation = await running(cli.contree);
  assert.deepEqual(cli.contree.spawned[0]?.tty, { columns: 90, rows: 33 });
  // In raw mode Ctrl-C is a byte like any other, and nothing is echoed on this side.
  child.stdin.write('key\u0003');
  await until(() => screen.includes('key\u0003'));
  assert.deepEqual(cli.contree.signalsSent, []);
  await cli.contree.processes.kill(operation, 1, { signal: 'HUP' });
  await ended;
  assert.match(screen, / icanon /u, 'the terminal is as it was');
  assert.match(screen, / echo /u);
});

test('whose terminal is closed is told, as every shell is; it has longer than other runs', async () => {
  await using cli = await bench();
  const program = new URL('../../bin/contree', import.meta.url).pathname;
  const line = `exec ${process.execPath} ${program} --data-dir ${cli.folder} run -it base -- greet`;
  cli.contree.programs['greet'] = (context) => {
    context.out('ready\r\n');
    return PROGRAMS['cat']!(context);
  };
  const terminal = spawn('script', ['-qefc', line, '/dev/null'], { stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = new Promise((resolve) => terminal.once('exit', resolve));
  // It listens for the signal from the moment when it shows output.
  for await (const chunk of terminal.stdout) if (String(chunk).includes('ready')) break;
  assert.equal(cli.contree.spawned[0]?.timeout, 3_600);
  assert.deepEqual(cli.contree.spawned[0]?.tty, { columns: 80, rows: 24 }, 'a terminal that does not know its size');
  const [client] = readFileSync(`/proc/${terminal.pid}/task/${terminal.pid}/children`, 'utf8').split(' ');
  process.kill(Number(client), 'SIGHUP');
  await until(() => cli.contree.signalsSent.length > 0);
  assert.deepEqual(cli.contree.signalsSent, ['HUP']);
  await ended;
});

test('--reuse asks for a recorded result, and reads input only with -i, whole', async () => {
  await using cli = await bench();
  for (const [flags, reuse, stdin] of [
    [['--reuse'], true, undefined],
    [['--reuse-network'], 'network', undefined],
    [['--reuse', '-i'], true, { value: 'typed', encoding: 'ascii' }],
    [[], undefined, { value: '', encoding: 'ascii', close: false }],
  ] as const) {
    await cli.run(['run', ...flags, 'base', 'cat'], { input: 'typed' });
    const request = cli.contree.spawned.at(-1);
    assert.deepEqual([request?.reuse, request?.stdin], [reuse, stdin], flags.join(' '));
  }
});
