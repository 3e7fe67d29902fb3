import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { collect } from '../../src/std/bytes.ts';
import {
  atMost,
  batched,
  endsSource,
  hashStream,
  observed,
  readHead,
  StreamDigest,
  withHead,
} from '../../src/std/streams.ts';

async function* counted(log: string[]): AsyncGenerator<number> {
  try {
    yield 1;
    yield 2;
  } finally {
    await Promise.resolve();
    log.push('ended');
  }
}

/** Reads from a source that has started. */
async function open(log: string[]): Promise<AsyncIterator<number>> {
  const source = counted(log);
  const first = await source.next();
  async function* rest(): AsyncGenerator<number> {
    if (!first.done) yield first.value;
    yield* source;
  }
  return endsSource(rest(), source)[Symbol.asyncIterator]();
}

test('a reader that leaves before its first value ends what the values come from', async () => {
  const log: string[] = [];
  const iterator = await open(log);
  assert.deepEqual(await iterator.return?.(), { done: true, value: undefined });
  assert.deepEqual(log, ['ended']);
  assert.equal((await iterator.next()).done, true);
});

test('a reader that leaves half-way, or reads all, ends it once', async () => {
  const half: string[] = [];
  const iterator = await open(half);
  assert.deepEqual(await iterator.next(), { done: false, value: 1 });
  await iterator.return?.();
  assert.deepEqual(half, ['ended']);

  const whole: string[] = [];
  const values: number[] = [];
  const all = await open(whole);
  for (let next = await all.next(); !next.done; next = await all.next()) values.push(next.value);
  await all.return?.();
  assert.deepEqual([values, whole], [[1, 2], ['ended']]);
});

async function* chunksOf(log: string[], ...texts: readonly string[]): AsyncGenerator<Uint8Array> {
  try {
    for (const text of texts) yield Buffer.from(text);
  } finally {
    log.push('ended');
  }
}

test('the head of a stream is read and put back: nothing is lost, and the source is ended', async () => {
  const log: string[] = [];
  const chunks = chunksOf(log, 'ab', 'cd', 'ef')[Symbol.asyncIterator]();
  const head = await readHead(chunks, 3);
  assert.deepEqual([head.bytes.toString(), head.ended], ['abcd', false]);
  assert.equal((await collect(withHead(head, chunks), 10)).toString(), 'abcdef');
  assert.deepEqual(log, ['ended']);

  const short = await readHead(chunksOf([], 'a')[Symbol.asyncIterator](), 3);
  assert.deepEqual([short.bytes.toString(), short.ended], ['a', true]);

  const left = chunksOf(log, 'ab', 'cd')[Symbol.asyncIterator]();
  for await (const chunk of withHead(await readHead(left, 1), left)) {
    assert.equal(Buffer.from(chunk).toString(), 'ab');
    break;
  }
  assert.deepEqual(log, ['ended', 'ended'], 'a reader that leaves ends it too');
});

test('small pieces are joined, and a stream is hashed on its way and at its end alike', async () => {
  const texts = Array.from({ length: 100 }, (_, index) => `piece ${index}`);
  const hash = createHash('sha256');
  const batches = batched(
    observed(chunksOf([], ...texts), (chunk) => hash.update(chunk)),
    64,
  );
  const joined = await Array.fromAsync(batches);
  assert.ok(joined.slice(0, -1).every(({ byteLength }) => byteLength >= 64 && byteLength < 80));
  assert.equal(Buffer.concat(joined).toString(), texts.join(''));
  const { sha256, bytes } = await hashStream(chunksOf([], ...texts));
  assert.deepEqual([sha256, bytes], [hash.digest('hex'), texts.join('').length]);
  assert.deepEqual(await Array.fromAsync(batched(chunksOf([]), 64)), []);
});

test('a digest is of all streams that passed, as if they were one, and ends with the reader', async () => {
  const log: string[] = [];
  const digest = new StreamDigest();
  assert.equal((await collect(digest.through(chunksOf(log, 'ab', 'c')), 10)).toString(), 'abc');
  assert.equal((await collect(digest.through(chunksOf(log, 'def')), 10)).toString(), 'def');
  assert.deepEqual([digest.bytes, log], [6, ['ended', 'ended']]);
  assert.equal(digest.sha256(), createHash('sha256').update('abcdef').digest('hex'));
});

test('a bounded stream passes its bound and not a byte more, and ends its source', async () => {
  const log: string[] = [];
  const excess = (): Error => new RangeError('enough');
  assert.equal((await collect(atMost(chunksOf(log, 'ab', 'c'), 3, excess), 10)).toString(), 'abc');
  await assert.rejects(collect(atMost(chunksOf(log, 'ab', 'c'), 2, excess), 10), /enough/u);
  assert.deepEqual(log, ['ended', 'ended']);
});
