import assert from 'node:assert/strict';
import { test } from 'node:test';
import { collectChild, openCli, type CliBench } from '../../support/cli-bench.ts';
import { until } from '../../support/time/until.ts';

async function bench(): Promise<CliBench & { image: string }> {
  const cli = await openCli();
  return Object.assign(cli, { image: cli.contree.addImage({ '/etc/hosts': 'x' }, 'base') });
}

/** Opens an instance from the command line and returns its UUID. */
async function opened(cli: CliBench, ...options: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await cli.run(['open', ...options, 'base']);
  assert.equal(code, 0, stderr);
  return stdout.split('\n')[0] ?? '';
}

test('an instance is opened, used again and again, listed, and closed into an image', async () => {
  await using cli = await bench();
  const instance = await opened(
    cli,
    '--idle-timeout',
    '2h',
    '--lifetime',
    '90',
    '-e',
    'A=1',
    '-w',
    '/srv',
    '-u',
    '7:8',
  );
  const [[request] = []] = cli.contree.calls('instances', 'open');
  assert.deepEqual(request, {
    image: 'tag:base',
    idle_timeout: 7_200,
    lifetime: 90,
    env: { A: '1' },
    cwd: '/srv',
    uid: 7,
    gid: 8,
  });
  for (const expected of [0, 7]) {
    assert.equal((await cli.run(['exec', instance, '--', 'exit', String(expected)])).code, expected);
  }
  // The beginning of a UUID is enough.
  const warned = await cli.run(['exec', instance.slice(0, 8), 'warn', 'careful']);
  assert.deepEqual([warned.code, warned.stdout, warned.stderr], [0, '', 'careful\n']);
  assert.equal((await cli.run(['exec', instance, 'touch', '/made'])).code, 0);
  const listed = await cli.run(['instances']);
  assert.match(listed.stdout, new RegExp(`^INSTANCE.*\\n${instance} +EXECUTING `, 'u'));
  assert.equal((await cli.run(['instances', '-q'])).stdout, `${instance}\n`);
  const closed = await cli.run(['close', '--tag', 'kept', instance]);
  assert.equal(closed.code, 0, closed.stderr);
  const kept = await cli.contree.images.get('tag:kept');
  assert.equal(closed.stdout, `${kept.uuid}\n`);
  assert.equal((await cli.run(['ls', 'kept', '/'])).stdout.includes('made'), true);
  assert.deepEqual(
    [(await cli.run(['instances', '-q'])).stdout, (await cli.run(['instances', '-qa'])).stdout],
    ['', `${instance}\n`],
  );
});

test('snapshots are made while it goes on, and ports published at the start or later are told', async () => {
  await using cli = await bench();
  const { instances } = cli.contree;
  const published: { port: number; host_port: number; url: string | null }[] = [];
  instances.publish = async (_operation, { port, host_port: asked }) => {
    const info = { port, host_port: asked || 4_000, url: null };
    published.push(info);
    return info;
  };
  instances.unpublish = async (_operation, port) =>
    void published.splice(
      published.findIndex((one) => one.port === port),
      1,
    );
  const { get } = instances;
  instances.get = async (uuid) => ({ ...(await get(uuid)), ports: published });
  published.push({ port: 3_000, host_port: 41_234, url: null });
  const { stdout } = await cli.run(['open', '-p', '3000', '-p', '80:8080', '--checkpoint', '5m', 'base']);
  const [instance = '', ports] = stdout.split('\n');
  assert.equal(ports, 'port 3000  http://127.0.0.1:41234');
  const [[request] = []] = cli.contree.calls('instances', 'open');
  assert.deepEqual(
    [request?.publish, request?.checkpoint],
    [[{ port: 3_000 }, { port: 80, host_port: 8_080 }], { seconds: 300 }],
  );
  assert.equal((await cli.run(['open', '-q', '--checkpoint', '10', 'base'])).stdout.split('\n').length, 2);
  const exposed = await cli.run(['expose', instance, '5173:5000']);
  assert.equal(exposed.stdout, 'port 5173  http://127.0.0.1:5000\n');
  assert.equal((await cli.run(['expose', '--remove', instance, '5173'])).code, 0);
  assert.deepEqual(
    published.map(({ port }) => port),
    [3_000],
  );
  assert.match((await cli.run(['expose', instance, '70000'])).stderr, /is not PORT or PORT:HOSTPORT/u);
  await cli.run(['exec', instance, 'touch', '/made']);
  const first = await cli.run(['snapshot', '--tag', 'state', instance]);
  assert.equal(first.stdout, `${(await cli.contree.images.get('tag:state')).uuid}\n`);
  const again = await cli.run(['snapshot', instance], { terminal: true });
  assert.deepEqual([again.stdout, again.stderr], [first.stdout, 'nothing has changed since the last one\n']);
});

test('what runs in an instance gets input from a pipe, all of it, and writes byte by byte', async () => {
  await using cli = await bench();
  const instance = await opened(cli);
  const input = Buffer.alloc(1_000_000, 'contree\u00e9');
  const { code, bytes } = await cli.spawn(['exec', instance, '--', 'cat'], { input });
  assert.equal(code, 0);
  assert.ok(bytes.equals(input));
  const told = await cli.run(['exec', '--json', instance, '--', 'echo', 'hi']);
  assert.equal((JSON.parse(told.stdout) as { stdout: { value: string } }).stdout.value, 'hi\n');
});

test('every option of a command reaches the engine, and --detach returns at once', async () => {
  await using cli = await bench();
  const instance = await opened(cli);
  const options = ['-d', '-e', 'A=1', '-e', 'ABSENT', '-w', '/srv', '-u', '5', '--timeout', '9'];
  const { code, stdout } = await cli.run(['exec', ...options, instance, '--', 'sleep', '-x']);
  assert.deepEqual([code, stdout], [0, '2\n']);
  const [[operation, spec] = []] = cli.contree.calls('processes', 'start');
  assert.equal(operation, instance);
  const command = { command: 'sleep', args: ['-x'], env: { A: '1' }, cwd: '/srv', uid: 5, timeout: 9 };
  assert.deepEqual(spec, command);
});

test('Ctrl-C is the command’s first, and kills it the second time; the instance goes on', async () => {
  await using cli = await bench();
  const instance = await opened(cli);
  const child = cli.start(['exec', instance, '--', 'stubborn']);
  let interrupts = 0;
  cli.contree.programs['stubborn'] = async ({ out }) => {
    out('running\n');
    await until(() => interrupts > 1);
    return 137;
  };
  const { kill } = cli.contree.processes;
  cli.contree.processes.kill = async (...args) => {
    await kill(...args);
    interrupts += 1;
  };
  const ended = collectChild(child);
  await new Promise((resolve) => child.stdout.once('data', resolve));
  child.kill('SIGINT');
  await until(() => interrupts === 1);
  child.kill('SIGINT');
  assert.equal((await ended).code, 130);
  assert.deepEqual(cli.contree.signalsSent, ['INT', 'KILL']);
  assert.equal((await cli.contree.instances.get(instance)).status, 'EXECUTING');
});

test('what cannot be is refused, with the instances that there are', async () => {
  await using cli = await bench();
  const none = await cli.run(['exec', 'abc', 'true']);
  assert.deepEqual([none.code, /none is open/u.test(none.stderr)], [2, true]);
  const instance = await opened(cli);
  const mistakes: readonly (readonly [readonly string[], RegExp])[] = [
    [['exec', instance], /a command is required/u],
    [['exec', 'zzz', 'true'], new RegExp(`no instance; open are ${instance}`, 'u')],
    [['exec', '--timeout', 'soon', instance, 'true'], /whole number/u],
    [['open', '--idle-timeout', 'soon', 'base'], /--idle-timeout takes a time/u],
    [['open', '--disposable', '--tag', 'x', 'base'], /keeps no image/u],
    [['close', '--discard', '--tag', 'x', instance], /keeps no image/u],
  ];
  for (const [args, message] of mistakes) {
    const { code, stderr } = await cli.run(args);
    assert.equal(code, 2, args.join(' '));
    assert.match(stderr, message);
  }
  const discarded = await cli.run(['close', '--discard', instance]);
  assert.deepEqual([discarded.code, discarded.stdout], [0, '']);
  const late = await cli.run(['exec', instance, 'true']);
  assert.equal(late.code, 5, late.stderr);
});
