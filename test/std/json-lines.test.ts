import assert from 'node:assert/strict';
import { test } from 'node:test';
import { jsonLines, linesOf } from '../../src/std/json-lines.ts';

async function* pieces(text: string, size: number): AsyncGenerator<Uint8Array> {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

test('values become lines and lines become values, however the bytes are cut', async () => {
  const values = [{ a: 'ü\n💥' }, [], null, 'x'.repeat(200_000), 1];
  const text = Buffer.concat(await Array.fromAsync(jsonLines(values))).toString();
  for (const size of [1, 7, 65_536, 10_000_000]) {
    const lines = await Array.fromAsync(linesOf(pieces(text, size), 1_000_000));
    assert.deepEqual(
      lines.map((line) => JSON.parse(line) as unknown),
      values,
    );
  }
  assert.deepEqual(await Array.fromAsync(jsonLines([])), []);
  assert.deepEqual(await Array.fromAsync(linesOf(pieces('\n\na\n\nb', 1), 10)), ['a', 'b'], 'the last needs no end');
});

test('a line without end is refused as soon as it is too long', async () => {
  let read = 0;
  async function* endless(): AsyncGenerator<Uint8Array> {
    for (;;) {
      read += 1;
      yield Buffer.alloc(1_000, 'x');
    }
  }
  await assert.rejects(Array.fromAsync(linesOf(endless(), 5_000)), RangeError);
  assert.ok(read <= 7);
  await assert.rejects(Array.fromAsync(linesOf(pieces(`${'x'.repeat(20)}\n`, 100), 10)), RangeError);
});
