import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { aborted } from '../../src/std/abort.ts';
import { type PackedFormat, unpackFile } from '../../src/tar/packed/unpack-file.ts';
import type { Threads } from '../../src/engine/workers/threads.ts';
import { unpacker } from '../../src/engine/workers/unpack.ts';
import type { ProjectStore } from '../../src/store/project-store.ts';

const folder = await mkdtemp(join(tmpdir(), 'contree-packed-'));
after(async () => rm(folder, { recursive: true, force: true }));

/** `first second`, as two streams each; those of xz with padding between them. */
const TWO: readonly (readonly [PackedFormat, Buffer])[] = [
  [
    'xz',
    Buffer.from(
      '/Td6WFoAAATm1rRGAgAhARYAAAB0L+WjAQAFZmlyc3QgAAAA5vUbUSR5EHIAAR4GwS+kHR+2830BAAAAAARZWgAAAAD9N3pYWgAABObWtEYCACEBFgAAAHQv5aMBAAVzZWNvbmQAAAA46IjFxjC0dAABHgbBL6QdH7bzfQEAAAAABFla',
      'base64',
    ),
  ],
  [
    'bzip2',
    Buffer.from(
      'QlpoOTFBWSZTWaRjnbsAAACRgEAAASAcACAAIYAMAycu4u5IpwoSFIxzt2BCWmg5MUFZJlNZJooCNAAAAoGADgGIACAAIhhoMAcCmF3JFOFCQJooCNA=',
      'base64',
    ),
  ],
];

async function unpacked(format: PackedFormat, bytes: Uint8Array): Promise<string> {
  const path = join(folder, 'packed');
  await writeFile(path, bytes);
  let text = '';
  for await (const piece of unpackFile(path, format)) text += Buffer.from(piece).toString('latin1');
  return text;
}

for (const [format, bytes] of TWO) {
  test(`${format}: all streams are unpacked, and what is cut off, changed or followed by something is refused`, async () => {
    assert.equal(await unpacked(format, bytes), 'first second');
    const refused = { code: 'LAYER_MALFORMED' };
    for (let length = 1; length < bytes.length; length += 3) {
      // Where the first stream ends, the second one is not missing.
      const text = await unpacked(format, bytes.subarray(0, length)).catch((error: unknown) => error);
      if (text === 'first ') continue;
      assert.throws(() => {
        throw text;
      }, refused);
    }
    for (let at = 0; at < bytes.length; at += 3) {
      const changed = Buffer.from(bytes);
      changed.writeUInt8(changed.readUInt8(at) ^ 0x10, at);
      const text = await unpacked(format, changed).catch(({ code }: { code?: unknown }) => code);
      assert.ok(text === 'LAYER_MALFORMED' || text === 'first second', `byte ${at}: ${String(text)}`);
    }
    await assert.rejects(unpacked(format, Buffer.concat([bytes, Buffer.from('more')])), refused);
  });
}

test('a decoder that gives nothing in time is given up', async () => {
  const asked: unknown[] = [];
  const threads = {
    stream: async function* (_project: string, job: unknown, signal: AbortSignal): AsyncGenerator<Uint8Array> {
      asked.push(job);
      yield Buffer.from('first');
      await aborted(signal);
      signal.throwIfAborted();
    },
  } as unknown as Threads;
  const files = { write: async () => ({ sha256: 'a' }), asFile: async (sha256: string) => `/${sha256}` };
  const store = { project: 'p', files } as unknown as ProjectStore;
  const plain = unpacker({ store, threads }, new AbortController().signal, 0.05)(nothing(), 'xz');
  assert.equal(String((await plain.next()).value), 'first');
  await assert.rejects(plain.next(), { code: 'INSPECTION_LIMIT' });
  assert.deepEqual(asked, [{ name: 'unpack', path: '/a', format: 'xz' }]);
});

async function* nothing(): AsyncGenerator<Uint8Array> {}
