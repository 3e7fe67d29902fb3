import assert from 'node:assert/strict';
import { test } from 'node:test';
import { text } from 'node:stream/consumers';
import type { ConTree } from '../../src/contract/contree.ts';
import { isFault, type ErrorCode } from '../../src/contract/errors.ts';
import type { OperationEvent } from '../../src/contract/event.ts';
import { inProcessContree } from '../../src/client/in-process.ts';
import { createApp } from '../../src/http/app.ts';
import { OWNER } from '../../src/http/auth.ts';
import { SILENT } from '../../src/http/log.ts';
import { connectTo } from '../support/client.ts';
import { startServer } from '../support/servers/http-server.ts';
import { ScriptedContree } from '../support/scripted/contree.ts';

interface Way extends AsyncDisposable {
  readonly contree: ConTree;
  readonly scripted: ScriptedContree;
}

async function direct(): Promise<Way> {
  const scripted = new ScriptedContree();
  return { contree: scripted, scripted, [Symbol.asyncDispose]: () => scripted[Symbol.asyncDispose]() };
}

async function inProcess(): Promise<Way> {
  const scripted = new ScriptedContree();
  const authentication = { kind: 'fixed', principal: OWNER } as const;
  const contree = inProcessContree(
    createApp({ contreeFor: () => scripted, log: SILENT, version: '1', authentication }),
    {},
  );
  return { contree, scripted, [Symbol.asyncDispose]: () => scripted[Symbol.asyncDispose]() };
}

function over(kind: 'unix' | 'tcp'): () => Promise<Way> {
  return async () => {
    await using cleanup = new AsyncDisposableStack();
    const server = cleanup.use(await startServer({ kind }));
    const contree = cleanup.use(await connectTo(server));
    const owned = cleanup.move();
    return { contree, scripted: server.contree, [Symbol.asyncDispose]: () => owned.disposeAsync() };
  };
}

/** The same calls give the same results in the process, over the socket, and over TCP behind a path prefix. */
const WAYS: Readonly<Record<string, () => Promise<Way>>> = {
  direct,
  inProcess,
  socket: over('unix'),
  tcp: over('tcp'),
};

function faults(code: ErrorCode) {
  return (error: unknown): boolean => {
    assert.ok(isFault(error, code), String(error));
    return true;
  };
}

async function all<Value>(source: AsyncIterable<Value>): Promise<Value[]> {
  const values: Value[] = [];
  for await (const value of source) values.push(value);
  return values;
}

async function* bytes(...parts: string[]): AsyncGenerator<Uint8Array> {
  for (const part of parts) yield Buffer.from(part);
}

const NOWHERE = '6f9619ff-8b86-4d01-b42d-00cf4fc964ff';

for (const [name, open] of Object.entries(WAYS)) {
  test(`${name}: images, tags, lineage, deletion`, async () => {
    await using way = await open();
    const { contree, scripted } = way;
    const image = scripted.addImage({ '/etc/passwd': 'root\n' }, 'common/base:1');
    assert.deepEqual(
      (await contree.images.list({ tag: 'common/', limit: 5, tagged: true })).map(({ uuid }) => uuid),
      [image],
    );
    assert.deepEqual(await contree.images.list({ tag: 'other', since: new Date(0) }), []);
    assert.equal((await contree.images.get('tag:common/base:1')).uuid, image);
    assert.equal((await contree.tags.set('tag:common/base:1', { tag: 'two' })).tag, 'two');
    await contree.tags.remove(image, { tag: 'two' });
    await assert.rejects(contree.tags.remove(image, { tag: 'two' }), faults('TAG_NOT_FOUND'));
    await assert.rejects(contree.tags.set(image, { tag: 'No Tag' }), faults('TAG_INVALID'));
    await assert.rejects(contree.images.get('tag:nobody'), faults('IMAGE_NOT_FOUND'));
    await assert.rejects(contree.images.get(NOWHERE), faults('IMAGE_NOT_FOUND'));
    const { uuid } = await contree.runs.start({ command: 'touch', args: ['/new'], image });
    await all(contree.operations.events(uuid, { follow: true }));
    const { result_image_uuid: child } = await contree.operations.get(uuid);
    assert.ok(child);
    const lineage = await contree.images.lineage(child);
    assert.deepEqual([lineage.root, lineage.ancestors.map((node) => node.uuid)], [image, [image]]);
    assert.deepEqual(
      (await contree.images.diff(image, { to: child, patch: true })).entries.map(({ path }) => path),
      ['/new'],
    );
    await assert.rejects(contree.images.delete(image), faults('IMAGE_IN_USE'));
    assert.deepEqual((await contree.images.delete(image, { cascade: true })).toSorted(), [image, child].toSorted());
  });

  test(`${name}: inspection`, async () => {
    await using way = await open();
    const { contree, scripted } = way;
    const image = scripted.addImage({ '/etc/passwd': 'root:x:0\n', '/a b/ü%2f#': 'odd' }, 'base');
    assert.deepEqual(
      (await contree.files.list('tag:base', { path: '/etc' })).files.map(({ path }) => path),
      ['passwd'],
    );
    assert.equal((await contree.files.list(image, { path: '/a b' })).files[0]?.path, 'ü%2f#');
    assert.equal((await contree.files.stat(image, { path: '/etc/passwd' })).size, 9);
    await assert.rejects(contree.files.stat(image, { path: '/etc/nope' }), faults('FILE_NOT_FOUND'));
    await assert.rejects(contree.files.list(image, { path: '/etc/passwd' }), faults('NOT_A_DIRECTORY'));
    await assert.rejects(contree.files.read(image, { path: '/etc' }), faults('NOT_A_FILE'));
    const read = async (offset?: number, length?: number): Promise<[number, string]> => {
      const range = { ...(offset !== undefined && { offset }), ...(length !== undefined && { length }) };
      const file = await contree.files.read(image, { path: '/etc/passwd', ...range });
      return [file.size, await text(file.body)];
    };
    assert.deepEqual(await read(), [9, 'root:x:0\n']);
    assert.deepEqual(await read(5, 3), [9, 'x:0']);
    assert.deepEqual(await read(100), [9, '']);
    assert.deepEqual(await read(0, 0), [9, '']);
    assert.equal(await text(await contree.files.archive(image, { path: '/etc' })), 'tar of /etc');
    assert.equal(await text(await contree.images.export(image)), `layout of ${image}`);
    const pushed = await Array.fromAsync(contree.images.push(image, { registry: { url: 'a/b:1' } }));
    assert.deepEqual(
      pushed.map(({ type }) => type),
      ['progress', 'progress', 'pushed'],
    );
    // It fails after the answer has started, and still reports the reason.
    const refused = Array.fromAsync(contree.images.push(image, { registry: { url: 'refused/b:1' } }));
    await assert.rejects(refused, faults('REGISTRY_DENIED'));
    const grep = await contree.files.grep(image, { pattern: ['root', 'other'], path: ['/etc', '/a b'], max_total: 5 });
    assert.deepEqual([grep.patterns, grep.matches.length], [['root', 'other'], 1]);
  });

  test(`${name}: files and directory states`, async () => {
    await using way = await open();
    const { contree } = way;
    const uploaded = await contree.uploads.create(bytes('hel', 'lo'));
    assert.equal(uploaded.size, 5);
    assert.equal((await contree.uploads.get(uploaded.sha256)).uuid, uploaded.uuid);
    assert.equal((await contree.uploads.get(uploaded.uuid)).sha256, uploaded.sha256);
    assert.equal((await contree.uploads.list({ limit: 10 })).length, 1);
    const [first, empty, same] = await contree.uploads.createMany(bytes('hello', '', 'hello'));
    assert.deepEqual([first?.uuid, empty?.size, same?.uuid], [uploaded.uuid, 0, uploaded.uuid], 'in their order');
    assert.deepEqual(await contree.uploads.createMany(bytes()), []);
    await assert.rejects(contree.uploads.get('0'.repeat(64)), faults('UPLOAD_NOT_FOUND'));
    const entry = { path: '/a', mode: 0o644, sha256: uploaded.sha256 };
    assert.equal((await contree.uploads.offerDirectory({ entries: [entry] })).state?.entries, 1);
    assert.deepEqual(await contree.uploads.offerDirectory({ entries: [{ ...entry, sha256: 'f'.repeat(64) }] }), {
      missing: ['f'.repeat(64)],
    });
    const { uuid } = await contree.images.importArchive({ file: uploaded.uuid, tag: 'mine' });
    assert.equal((await contree.operations.get(uuid)).status, 'SUCCESS');
  });

  test(`${name}: runs, their events and their processes`, async () => {
    await using way = await open();
    const { contree, scripted } = way;
    const image = scripted.addImage();
    await assert.rejects(contree.runs.start({ command: 'true', image: 'tag:nobody' }), faults('IMAGE_NOT_FOUND'));
    const { uuid } = await contree.runs.start({ command: 'cat', image, stdin: { value: 'a', close: false } });
    const seen: OperationEvent[] = [];
    for await (const event of contree.operations.events(uuid, { follow: true })) {
      seen.push(event);
      if (event.type === 'stdout' && event.data.value === 'a')
        await contree.processes.write(uuid, 1, { value: 'b', close: true });
    }
    assert.deepEqual(
      seen.map(({ id }) => id),
      seen.map((_, index) => index),
    );
    assert.deepEqual(
      seen.map(({ type }) => type),
      ['spawn', 'stdout', 'stdout', 'exit', 'completion'],
    );
    assert.deepEqual(
      (await all(contree.operations.events(uuid, { since: 2 }))).map(({ id }) => id),
      [3, 4],
    );
    assert.deepEqual(
      (await all(contree.operations.events(uuid, { follow: true, spid: 1 }))).map(({ type }) => type).at(-1),
      'exit',
    );
    await assert.rejects(contree.operations.cancel(uuid), faults('OPERATION_FINISHED'));
    await assert.rejects(contree.processes.start(uuid, { command: 'true' }), faults('INSTANCE_NOT_RUNNING'));
    await assert.rejects(contree.operations.get(NOWHERE), faults('OPERATION_NOT_FOUND'));
    await assert.rejects(
      async () => all(contree.operations.events(NOWHERE, { follow: true })),
      faults('OPERATION_NOT_FOUND'),
    );
    assert.equal((await contree.operations.list({ status: 'SUCCESS', kind: 'instance' })).length, 1);

    const parent = await contree.runs.start({ command: 'sleep', image });
    await new Promise(setImmediate);
    const { spid } = await contree.processes.start(parent.uuid, { command: 'bytes' });
    const output: Buffer[] = [];
    for await (const event of contree.operations.events(parent.uuid, { follow: true, spid })) {
      if (event.type === 'stdout')
        output.push(Buffer.from(event.data.value, event.data.encoding === 'ascii' ? 'utf8' : 'base64'));
      if (event.type === 'exit') break;
    }
    const everyByte = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
    assert.deepEqual(Buffer.concat(output), everyByte);
    assert.equal((await contree.processes.get(parent.uuid, spid)).state?.exit_code, 0);
    await contree.processes.resize(parent.uuid, 1, { columns: 80, rows: 24 });
    await contree.processes.kill(parent.uuid, 1, { signal: 'TERM' });
    assert.equal((await all(contree.operations.events(parent.uuid, { follow: true }))).at(-1)?.type, 'completion');
    await assert.rejects(contree.processes.get(parent.uuid, 9), faults('SUBPROCESS_NOT_FOUND'));
  });

  test(`${name}: the rest, and an abort that ends only the waiting`, async () => {
    await using way = await open();
    const { contree, scripted } = way;
    assert.equal((await contree.system.whoami()).limits['instance_max_timeout'], 3600);
    assert.equal((await contree.system.gc({ dry_run: true, older_than_days: 3 })).freed_bytes, 0);
    assert.equal((await contree.system.doctor({ verify: true })).checks[0]?.status, 'ok');
    const { uuid } = await contree.runs.start({ command: 'sleep', image: scripted.addImage() });
    const stop = new AbortController();
    const waiting = async (): Promise<void> => {
      for await (const { type } of contree.operations.events(uuid, { follow: true }, stop.signal))
        if (type === 'spawn') setImmediate(() => stop.abort(new Error('enough')));
    };
    await assert.rejects(waiting(), /enough/u);
    assert.equal((await contree.operations.get(uuid)).status, 'EXECUTING');
  });
}

for (const name of ['socket', 'tcp']) {
  test(`${name}: a call whose signal has aborted before it is not made`, async () => {
    await using way = await WAYS[name]!();
    await assert.rejects(way.contree.system.whoami(AbortSignal.abort(new Error('too late'))), /too late/u);
  });
}
