import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { limits } from '../../src/contract/limits.ts';
import { readBlob } from '../../src/registry/blob.ts';
import { RegistryClient } from '../../src/registry/client.ts';
import { type Digest, digestOf } from '../../src/registry/digest.ts';
import { cutAfter, FakeRegistry, status } from '../support/servers/registry.ts';
import { read } from './support.ts';

const BYTES = randomBytes(700_000);
const DIGEST = digestOf(BYTES);

interface Bench extends AsyncDisposable {
  readonly registry: FakeRegistry;
  readonly waits: readonly number[];
  open(blob?: { digest?: Digest; bytes?: number }, signal?: AbortSignal): AsyncGenerator<Uint8Array>;
}

async function bench(): Promise<Bench> {
  const registry = await FakeRegistry.start();
  registry.addBlob(BYTES, 'application/octet-stream');
  const waits: number[] = [];
  const wait = async (ms: number) => void waits.push(ms);
  const client = new RegistryClient(registry.host, { wait }, async () => undefined);
  return {
    registry,
    waits,
    open: ({ digest = DIGEST, bytes = BYTES.length } = {}, signal = AbortSignal.timeout(20_000)) =>
      readBlob({ client, repository: 'team/app', digest, bytes }, signal),
    async [Symbol.asyncDispose]() {
      await client[Symbol.asyncDispose]();
      await registry[Symbol.asyncDispose]();
    },
  };
}

test('readBlob yields the blob', async () => {
  await using it = await bench();
  assert.deepEqual(await read(it.open()), BYTES);
  assert.deepEqual(it.registry.log, [`GET /v2/team/app/blobs/${DIGEST}`]);
});

test('readBlob goes on where a broken connection stopped', async () => {
  await using it = await bench();
  it.registry.on(/blobs/u, cutAfter(it.registry, 100_000), 3);
  assert.deepEqual(await read(it.open()), BYTES);
  assert.deepEqual(
    it.registry.seen.map(({ headers }) => headers.range),
    [undefined, 'bytes=100000-', 'bytes=200000-', 'bytes=300000-'],
  );
});

test('readBlob skips what it knows when the registry ignores Range', async () => {
  await using it = await bench();
  it.registry.on(/blobs/u, cutAfter(it.registry, 300_000), 1);
  it.registry.on(/blobs/u, (request, response) => {
    delete request.headers.range;
    it.registry.serve(request, response);
  });
  assert.deepEqual(await read(it.open()), BYTES);
});

test('readBlob takes the unit of a range in any case (I17)', async () => {
  await using it = await bench();
  it.registry.on(/blobs/u, cutAfter(it.registry, 300_000), 1);
  const rest = BYTES.subarray(300_000);
  it.registry.on(/blobs/u, (_, response) => {
    const range = `BYTES 300000-${BYTES.length - 1}/${BYTES.length}`;
    response.writeHead(206, { 'content-length': rest.length, 'content-range': range }).end(rest);
  });
  assert.deepEqual(await read(it.open()), BYTES);
});

test('readBlob refuses a range that starts elsewhere', async () => {
  await using it = await bench();
  it.registry.on(/blobs/u, cutAfter(it.registry, 300_000), 1);
  it.registry.on(/blobs/u, status(206, { 'content-range': 'bytes 5-9/10' }, 'xxxxx'));
  await assert.rejects(read(it.open()), { code: 'REGISTRY_PROTOCOL' });
});

test('readBlob refuses wrong, short and long blobs', async () => {
  await using it = await bench();
  const wrong = Buffer.from(BYTES);
  wrong[699_999]! ^= 1;
  const serve = (body: Buffer) => (_: unknown, response: { end: (body: Buffer) => void }) => response.end(body);
  it.registry.on(/blobs/u, serve(wrong), 1);
  await assert.rejects(read(it.open()), { code: 'DIGEST_MISMATCH' });
  it.registry.on(/blobs/u, serve(Buffer.concat([BYTES, Buffer.from('x')])), 1);
  await assert.rejects(read(it.open()), { code: 'DIGEST_MISMATCH', message: /longer/u });
  await assert.rejects(read(it.open({ bytes: BYTES.length - 1 })), { code: 'DIGEST_MISMATCH', message: /longer/u });
  await assert.rejects(read(it.open({ bytes: BYTES.length + 1 })), {
    code: 'DIGEST_MISMATCH',
    message: /ends after 700000 bytes/u,
  });
  it.registry.on(/blobs/u, serve(BYTES.subarray(0, 1000)));
  await assert.rejects(read(it.open()), { code: 'DIGEST_MISMATCH', message: /ends after 1000 bytes/u });
});

test('readBlob stops trying when nothing comes any more', async () => {
  await using it = await bench();
  it.registry.on(/blobs/u, cutAfter(it.registry, 100));
  await assert.rejects(read(it.open()), { code: 'REGISTRY_UNREACHABLE', message: /closed|reset/u });
  assert.equal(it.waits.length, limits.registryRetriesMax);
});

test('readBlob says when a registry lacks what its manifest names', async () => {
  await using it = await bench();
  const digest = digestOf(Buffer.from('absent'));
  await assert.rejects(read(it.open({ digest, bytes: 6 })), { code: 'REGISTRY_PROTOCOL', message: /lacks the blob/u });
});

test('readBlob needs no request for an empty blob, and checks its digest', async () => {
  await using it = await bench();
  assert.equal((await read(it.open({ digest: digestOf(Buffer.alloc(0)), bytes: 0 }))).length, 0);
  await assert.rejects(read(it.open({ bytes: 0 })), { code: 'DIGEST_MISMATCH' });
  assert.deepEqual(it.registry.log, []);
});

test('readBlob ends with the signal in the middle, and leaves no connection when its reader stops', async () => {
  await using it = await bench();
  const abort = new AbortController();
  it.registry.on(/blobs/u, (_, response) => void response.writeHead(200).write(BYTES.subarray(0, 200_000)));
  const stalled = it.open({}, abort.signal);
  await stalled.next();
  abort.abort(new Error('enough'));
  await assert.rejects(read(stalled), /enough/u);

  const abandoned = it.open();
  await abandoned.next();
  await abandoned.return(undefined);
  assert.deepEqual(await abandoned.next(), { done: true, value: undefined });
});
