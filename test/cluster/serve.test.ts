import assert from 'node:assert/strict';
import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { once as event } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { after, before, test } from 'node:test';
import { connect } from '../../src/client/connect.ts';
import { httpContree, type HttpContree } from '../../src/client/http-contree.ts';
import { Requester } from '../../src/client/requester.ts';
import { HttpTransport } from '../../src/client/transport.ts';
import { faults } from '../conformance/faults.ts';
import { once } from '../engine/bench.ts';
import { tarOf } from '../support/tar.ts';
import { freePort, Postgres } from './support/postgres.ts';
import { Versitygw } from './support/versitygw.ts';

const SECRET = 'a secret of the tests that is long enough';

let postgres: Postgres;
let objects: Versitygw;
let folder: string;
before(async () => {
  postgres = await Postgres.open();
  objects = await Versitygw.open();
  folder = await mkdtemp(join(tmpdir(), 'contree-serve-'));
});
after(async () => {
  await postgres[Symbol.asyncDispose]();
  await objects[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

interface Served extends AsyncDisposable {
  readonly port: number;
  readonly owner: HttpContree;
  readonly child: ChildProcessByStdio<null, Readable, Readable>;
}

/** Starts `contree serve` as a node. */
function started(database: string, args: readonly string[]): ChildProcessByStdio<null, Readable, Readable> {
  return spawn(process.execPath, ['bin/contree', 'serve', ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      ...process.env,
      CONTREE_CLUSTER: database,
      CONTREE_OBJECTS: objects.address('serve'),
      CONTREE_CLUSTER_SECRET: SECRET,
    },
  });
}

/** Runs `contree serve` as a node, and connects to it as its owner. */
async function serve(database: string, name: string, role: string): Promise<Served> {
  const port = await freePort();
  const dataDir = join(folder, name);
  const child = started(database, [
    '--data-dir',
    dataDir,
    '--http-port',
    String(port),
    '--node-name',
    name,
    '--role',
    role,
  ]);
  const said = text(child.stderr);
  await new Promise<void>((resolve, reject) => {
    const lines = createInterface({ input: child.stdout });
    lines.on('line', (line) => line.includes(String(port)) && resolve());
    child.once('exit', () => void said.then((line) => reject(new Error(line))));
  });
  const socket = join(dataDir, 'engine.sock');
  const transport = new HttpTransport({ url: 'http://localhost', socket, headers: {} });
  const close = async (): Promise<void> => transport[Symbol.dispose]();
  const owner = httpContree(new Requester({ transport, checked: false }), close);
  return {
    port,
    owner,
    child,
    [Symbol.asyncDispose]: async () => {
      await owner[Symbol.asyncDispose]();
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = event(child, 'exit');
      child.kill('SIGTERM');
      await ended;
    },
  };
}

test('what one node makes, another shows, with a token of the first', async () => {
  const database = await postgres.database();
  await using worker = await serve(database, 'worker', 'worker');
  await using api = await serve(database, 'api', 'api');
  const file = await api.owner.uploads.create(once(tarOf([{ path: 'hello', content: 'hello\n' }])));
  const { uuid } = await api.owner.images.importArchive({ file: file.uuid, name: 'a.tar', tag: 'imported' });
  const events = await Array.fromAsync(api.owner.operations.events(uuid, { follow: true }));
  const end = events.at(-1);
  assert.ok(end?.type === 'completion');
  assert.equal(end.data.error, null);
  const { token } = await worker.owner.tokens.create({});
  const remote = { url: `http://127.0.0.1:${api.port}`, token, env: {} };
  await using client = await connect({ version: '1', program: 'test', server: { remote } });
  const read = await client.files.read('tag:imported', { path: '/hello' });
  assert.equal(await text(read.body), 'hello\n');
  await api.owner.tokens.revoke((await api.owner.tokens.list())[0]!.uuid);
  await assert.rejects(client.images.list(), faults('TOKEN_INVALID'));
  const { token: reader } = await worker.owner.tokens.create({ permissions: ['metrics'] });
  const headers = { Authorization: `Bearer ${reader}` };
  const metrics = await (await fetch(`http://127.0.0.1:${api.port}/metrics`, { headers })).text();
  const counted = [
    'queue{state="waiting"} 0',
    'queue{state="running"} 0',
    'nodes{role="any"} 2',
    'nodes{role="worker"} 1',
  ];
  for (const line of counted) assert.ok(metrics.includes(`contree_cluster_${line}\n`), line);
});

test('a second node of a name is refused', async () => {
  const database = await postgres.database();
  await using _first = await serve(database, 'same', 'api');
  const port = String(await freePort());
  const child = started(database, ['--data-dir', join(folder, 'other'), '--http-port', port, '--node-name', 'same']);
  const [said, [code]] = await Promise.all([text(child.stderr), event(child, 'exit')]);
  assert.match(said, /another node named "same" is in the cluster/u);
  assert.notEqual(code, 0);
});
