import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { constants, gzipSync, zstdCompressSync } from 'node:zlib';
import { decompress, type UnpackBound } from '../../src/tar/compression.ts';
import { collect } from '../../src/std/bytes.ts';
import { streamOf } from '../support/tar.ts';

const bound = (limit: number): UnpackBound => ({ limit, what: 'bytes' });

const PLAIN = Buffer.concat([Buffer.from('plain text '.repeat(40_000)), randomBytes(300_000)]);
const GZIP = gzipSync(PLAIN);
const ZSTD = zstdCompressSync(PLAIN, { params: { [constants.ZSTD_c_checksumFlag]: 1 } });

async function run(bytes: Uint8Array, bytesMax = 1e8, chunkBytes = 10_000): Promise<Buffer> {
  return collect(decompress(streamOf(bytes, chunkBytes), bound(bytesMax)), 1e9);
}

test('gzip, zstd and plain streams are told apart by their bytes', async () => {
  for (const bytes of [PLAIN, GZIP, ZSTD]) {
    for (const chunkBytes of [1_000, 65_536, 1e7]) assert.ok((await run(bytes, 1e8, chunkBytes)).equals(PLAIN));
  }
  assert.ok((await run(gzipSync(Buffer.from('abc')), 1e8, 1)).equals(Buffer.from('abc')), 'byte by byte');
  assert.equal((await run(Buffer.alloc(0))).length, 0);
  assert.equal((await run(Buffer.from('ab'))).toString(), 'ab');
});

test('several members or frames are one stream', async () => {
  const skippable = Buffer.concat([Buffer.from([0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0]), Buffer.from('skip')]);
  for (const chunkBytes of [1_000, GZIP.length, ZSTD.length, 1e7]) {
    assert.ok((await run(Buffer.concat([GZIP, GZIP]), 1e8, chunkBytes)).equals(Buffer.concat([PLAIN, PLAIN])));
    const frames = Buffer.concat([skippable, ZSTD, skippable, ZSTD, skippable]);
    assert.ok((await run(frames, 1e8, chunkBytes)).equals(Buffer.concat([PLAIN, PLAIN])));
  }
});

test('zeros behind a gzip stream are padding, and the source is still read to its end', async () => {
  let ended = false;
  const source = (async function* () {
    yield* streamOf(Buffer.concat([GZIP, Buffer.alloc(50_000)]));
    ended = true;
  })();
  assert.ok((await collect(decompress(source, bound(1e8)), 1e9)).equals(PLAIN));
  assert.ok(ended);
});

test('a source that finds its digest wrong at the end is believed', async () => {
  for (const bytes of [PLAIN, GZIP, ZSTD]) {
    const source = (async function* () {
      yield* streamOf(bytes);
      throw new Error('wrong digest');
    })();
    await assert.rejects(collect(decompress(source, bound(1e8)), 1e9), { message: 'wrong digest' });
  }
});

test('a stream that is cut off is refused', async () => {
  for (const bytes of [GZIP, ZSTD]) {
    for (const length of [5, 20, 1_000, bytes.length - 9, bytes.length - 1]) {
      await assert.rejects(run(bytes.subarray(0, length)), { code: 'LAYER_MALFORMED' }, `${length} bytes`);
    }
  }
});

test('damage and garbage behind the end are refused', async () => {
  for (const bytes of [GZIP, ZSTD]) {
    const damaged = Buffer.from(bytes);
    damaged.fill(0xa5, 5_000, 5_040);
    await assert.rejects(run(damaged), { code: 'LAYER_MALFORMED' });
    for (const chunkBytes of [1_000, bytes.length, 1e7]) {
      const trailing = Buffer.concat([bytes, Buffer.from('garbage behind the end')]);
      await assert.rejects(run(trailing, 1e8, chunkBytes), { code: 'LAYER_MALFORMED' }, `chunks of ${chunkBytes}`);
    }
  }
});

test('what comes out is bounded: a bomb ends at the limit', async () => {
  const zeros = Buffer.alloc(64 * 1024 * 1024);
  for (const bomb of [gzipSync(zeros), zstdCompressSync(zeros)]) {
    let seen = 0;
    const read = async () => {
      for await (const chunk of decompress(streamOf(bomb), bound(5_000_000))) seen += chunk.length;
    };
    await assert.rejects(read(), { code: 'LAYER_LIMIT', message: /5000000 bytes/u });
    assert.ok(seen <= 5_000_000);
  }
});

test('an error of the source is passed on as it is, and the source is ended when the reader stops', async () => {
  const failing = (async function* () {
    yield GZIP.subarray(0, 5_000);
    throw new Error('the network is down');
  })();
  await assert.rejects(collect(decompress(failing, bound(1e8)), 1e9), { message: 'the network is down' });
  let ended = false;
  const endless = (async function* () {
    try {
      for (;;) yield GZIP;
    } finally {
      ended = true;
    }
  })();
  for await (const chunk of decompress(endless, bound(1e9))) {
    assert.ok(chunk.length > 0);
    break;
  }
  assert.ok(ended);
});
