import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, mock, test } from 'node:test';
import { fault } from '../../src/contract/errors.ts';
import { OBJECT_PREFIXES, type ObjectName, type ObjectStore } from '../../src/cluster/objects/object-store.ts';
import { openObjects } from '../../src/cluster/objects/open.ts';
import type { RetryPolicy } from '../../src/cluster/objects/retry.ts';
import { faults } from '../conformance/faults.ts';
import { type Asked, FaultProxy, type Fault } from './support/fault-proxy.ts';
import { Versitygw } from './support/versitygw.ts';

/** Bounds of the tests: quick to try again, slow to give up a connection. */
const POLICY: RetryPolicy = { attempts: 4, pauseMs: 5, pauseMsMax: 20, idleMs: 20_000 };
const gateway = await Versitygw.open();
const proxy = await FaultProxy.open(gateway.port);
const objects = await openObjects(gateway.address('objects', proxy.port), POLICY);
const folder = await mkdtemp(join(tmpdir(), 'contree-objects-'));
after(async () => {
  objects[Symbol.dispose]();
  await proxy[Symbol.asyncDispose]();
  await gateway[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});
const { signal } = new AbortController();
beforeEach(() => {
  proxy.fault = () => undefined;
  proxy.take();
});

const MIB = 1024 * 1024;
let count = 0;

/** Makes a file of random bytes. */
async function fileOf(bytes: number): Promise<ObjectName & { readonly path: string; readonly content: Buffer }> {
  const content = randomBytes(bytes);
  const sha256 = createHash('sha256').update(content).digest('hex');
  const path = join(folder, `${(count += 1)}`);
  await writeFile(path, content);
  return { key: `layers/${sha256}`, sha256, bytes, path, content };
}

async function read(object: ObjectName, from: ObjectStore = objects, abort = signal): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(from.read(object, abort)));
}

const is = (method: string) => (asked: Asked) => asked.method === method;
const methods = (): string[] => proxy.take().map(({ method }) => method);

/** Stores a file while its requests of that method meet these faults, and checks that it is there whole. */
async function putDespite(
  bytes: number,
  fits: (asked: Asked) => boolean,
  ...list: readonly Fault[]
): Promise<string[]> {
  const { content, ...file } = await fileOf(bytes);
  proxy.next(fits, ...list);
  await objects.put(file, signal);
  const made = methods();
  proxy.fault = () => undefined;
  assert.deepEqual(await read(file), content);
  return made;
}

test('a file is stored once, found, listed, read and deleted', async () => {
  await objects.check(signal);
  const { content, ...file } = await fileOf(100_000);
  assert.equal(await objects.head(file.key, signal), undefined);
  await objects.put(file, signal);
  proxy.take();
  await objects.put(file, signal);
  assert.deepEqual(methods(), ['HEAD'], 'nothing is sent again');
  const entry = await objects.head(file.key, signal);
  assert.deepEqual([entry?.key, entry?.bytes], [file.key, file.bytes]);
  assert.deepEqual(await read(file), content);
  const listed = await Array.fromAsync(objects.list(OBJECT_PREFIXES.layer, signal));
  assert.deepEqual(
    listed.map(({ key, bytes }) => [key, bytes]),
    [[file.key, file.bytes]],
  );
  await objects.delete([file.key, 'layers/none'], signal);
  assert.equal(await objects.head(file.key, signal), undefined);
  await assert.rejects(read(file), faults('OBJECT_MISSING'));
});

test('small content is named by its digest, nothing included', async () => {
  for (const content of [Buffer.from('a log'), Buffer.alloc(0)]) {
    const object = await objects.putBytes('logs/', content, signal);
    assert.equal(object.key, `logs/${createHash('sha256').update(content).digest('hex')}`);
    assert.deepEqual(await read(object), content);
  }
});

test('a large file is sent in parts, each of them again if it has to be', async () => {
  const isPart = ({ url }: Asked): boolean => url.includes('partNumber=2');
  const made = await putDespite(40 * MIB, isPart, { status: 503 }, { cut: 'before' }, { flip: 'request' });
  assert.deepEqual(made, ['HEAD', 'POST', 'PUT', 'PUT', 'PUT', 'PUT', 'PUT', 'PUT', 'POST']);
});

test('a list of more than a page is complete and in order', async () => {
  const many = join(gateway.folder, 'objects/states');
  await mkdir(many, { recursive: true });
  const names = Array.from({ length: 1_500 }, (_, index) => `${index}`.padStart(4, '0'));
  await Promise.all(names.map((name) => writeFile(join(many, name), name)));
  const keys = (await Array.fromAsync(objects.list('states/', signal))).map(({ key }) => key);
  assert.deepEqual(
    keys,
    names.map((name) => `states/${name}`),
  );
  assert.ok(methods().length > 1);
  await objects.delete(keys, signal);
  assert.deepEqual(await Array.fromAsync(objects.list('states/', signal)), []);
});

test('what a request meets on its way out is overcome', async () => {
  await putDespite(100_000, is('PUT'), { status: 503 }, { status: 500 }, { status: 429 });
  await putDespite(100_000, is('HEAD'), { cut: 'before' }, { status: 503 });
  await putDespite(100_000, is('PUT'), { cut: 'before' }, { cut: 'after' });
  await putDespite(100_000, is('PUT'), { flip: 'request' });
  const isComplete = ({ method, url }: Asked): boolean => method === 'POST' && url.includes('uploadId=');
  await putDespite(20 * MIB, isComplete, { cut: 'after' });
});

test('what an answer meets on its way back is overcome: it goes on where it broke off', async () => {
  const { content, ...file } = await fileOf(5 * MIB);
  await objects.put(file, signal);
  proxy.take();
  proxy.next(is('GET'), { status: 503 }, { cut: 2 * MIB }, { cut: MIB }, { pieces: 65_537 });
  assert.deepEqual(await read(file), content);
  const ranges = proxy.take().map(({ range }) => range);
  assert.deepEqual(ranges.slice(0, 2), [undefined, undefined]);
  // What of the cut answers had come does not matter, only that it is not asked for again.
  const starts = ranges.slice(2).map((range) => Number(/^bytes=(\d+)-$/u.exec(range ?? '')?.[1] ?? 0));
  assert.deepEqual(
    starts,
    starts.toSorted((left, right) => left - right),
  );
});

test('a store that does not answer is given up after a bounded number of attempts, and says so', async () => {
  const { content: _, ...file } = await fileOf(1_000);
  for (const failing of [{ status: 503 }, { cut: 'before' }] as const) {
    proxy.fault = () => failing;
    await assert.rejects(objects.put(file, signal), faults('OBJECTS_UNAVAILABLE'));
    assert.equal(proxy.take().length, POLICY.attempts);
  }
  proxy.fault = () => undefined;
  await objects.put(file, signal);
  proxy.take();
  proxy.fault = () => ({ cut: 10 });
  await assert.rejects(read(file), faults('OBJECTS_UNAVAILABLE'));
  assert.equal(proxy.take().length, POLICY.attempts, 'a few bytes are no progress');
});

test('an answer that stands still is given up and asked for again', async () => {
  const { content, ...file } = await fileOf(100_000);
  await objects.put(file, signal);
  using hasty = await openObjects(gateway.address('objects', proxy.port), { ...POLICY, attempts: 100, idleMs: 300 });
  proxy.next(is('GET'), { hang: true });
  assert.deepEqual(await read(file, hasty), content);
});

test('bytes that the digest does not name are never taken for the object', async () => {
  const { content, ...file } = await fileOf(100_000);
  await objects.put(file, signal);
  for (const wrong of [{ flip: 'answer' }, { bytes: 99_999 }, { bytes: 0 }] as const) {
    proxy.next(is('GET'), wrong);
    await assert.rejects(read(file), faults('OBJECT_DAMAGED'));
  }
  await writeFile(join(gateway.folder, 'objects', file.key), Buffer.concat([content, Buffer.from('x')]));
  await assert.rejects(read(file), faults('OBJECT_DAMAGED'));
  await objects.put(file, signal);
  assert.deepEqual(await read(file), content, 'one of another length is replaced');
});

test('a file that is not what its name says is not stored', async () => {
  for (const bytes of [1_000, 20 * MIB]) {
    const { content: _, ...file } = await fileOf(bytes);
    await writeFile(file.path, randomBytes(bytes));
    await assert.rejects(objects.put(file, signal), faults('STORE_CORRUPT'));
    assert.equal(await objects.head(file.key, signal), undefined);
  }
  assert.equal(await objects.endUploads(Date.now() + 86_400_000, signal), 0, 'no upload is left');
});

test('work that is given up ends with its reason, and leaves no upload', async () => {
  const { content: _, ...file } = await fileOf(20 * MIB);
  const stop = fault('TIMED_OUT', { what: 'the test', seconds: 1 });
  const during = (fits: (asked: Asked) => boolean): AbortSignal => {
    const controller = new AbortController();
    proxy.fault = (asked) => {
      if (!fits(asked)) return undefined;
      controller.abort(stop);
      return { hang: true };
    };
    return controller.signal;
  };
  await assert.rejects(
    objects.put(
      file,
      during(({ url }) => url.includes('partNumber=2')),
    ),
    faults('TIMED_OUT'),
  );
  proxy.fault = () => undefined;
  assert.equal(await objects.endUploads(Date.now() + 86_400_000, signal), 0);
  await objects.put(file, signal);
  await assert.rejects(read(file, objects, during(is('GET'))), faults('TIMED_OUT'));
});

test('an upload of a node that died is ended by whoever cleans up', async () => {
  const { content: _, ...file } = await fileOf(20 * MIB);
  // Neither the last part nor the end of the upload reaches the store.
  proxy.fault = ({ url, method }) =>
    url.includes('partNumber=2') || method === 'DELETE' ? { cut: 'before' } : undefined;
  await assert.rejects(objects.put(file, signal), faults('OBJECTS_UNAVAILABLE'));
  proxy.fault = () => undefined;
  assert.equal(await objects.endUploads(Date.now() - 86_400_000, signal), 0, 'one that may still go on stays');
  assert.equal(await objects.endUploads(Date.now() + 86_400_000, signal), 1);
});

test('a store that was restarted meanwhile is read on', async () => {
  const { content, ...file } = await fileOf(30 * MIB);
  await objects.put(file, signal);
  using direct = await openObjects(gateway.address('objects'), { ...POLICY, attempts: 20, pauseMsMax: 200 });
  const chunks: Uint8Array[] = [];
  for await (const chunk of direct.read(file, signal)) {
    if (chunks.length === 0) {
      await gateway.stop();
      await gateway.start();
    }
    chunks.push(chunk);
  }
  assert.deepEqual(Buffer.concat(chunks), content);
});

test('a clock that is an hour off makes no difference', async () => {
  const real = Date.now();
  for (const hours of [-1, 1]) {
    mock.timers.enable({ apis: ['Date'], now: real + hours * 3_600_000 });
    try {
      using skewed = await openObjects(gateway.address('objects'), POLICY);
      const content = Buffer.from(`${hours}`);
      assert.deepEqual(await read(await skewed.putBytes('logs/', content, signal), skewed), content);
    } finally {
      mock.timers.reset();
    }
  }
});

test('a bucket that is missing and credentials that are refused are said at once', async () => {
  const elsewhere = gateway.address().replace('contree', 'another');
  using none = await openObjects(elsewhere, POLICY);
  await assert.rejects(none.check(signal), faults('OBJECTS_DENIED'));
  await assert.rejects(none.putBytes('logs/', Buffer.from('x'), signal), faults('OBJECTS_DENIED'));
  process.env['AWS_SECRET_ACCESS_KEY'] = 'wrong';
  using stranger = await openObjects(gateway.address('objects', proxy.port), POLICY);
  proxy.take();
  await assert.rejects(stranger.check(signal), faults('OBJECTS_DENIED'));
  assert.equal(proxy.take().length, 1);
  assert.equal((await readdir(gateway.folder)).includes('logs'), false);
});
