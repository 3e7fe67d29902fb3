import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cutOutput, isBinary, showOutput } from '../../src/tools/support/output.ts';
import { Random } from '../support/random.ts';

const show = (text: string | Buffer, bytesMax: number, total?: number): { text: string; truncated: boolean } => {
  const bytes = Buffer.from(text as string);
  return showOutput({ first: bytes, last: Buffer.alloc(0), totalBytes: total ?? bytes.length }, bytesMax, 'REST');
};

test('output that fits is shown as it is', () => {
  assert.deepEqual(show('héllo ✓\n', 100), { text: 'héllo ✓\n', truncated: false });
  assert.deepEqual(show('', 0), { text: '', truncated: false });
});

test('longer output is shown as its first quarter and last three quarters, cut at line ends, with what is missing', () => {
  const text = Array.from({ length: 1_000 }, (_, line) => `line ${line}\n`).join('');
  const shown = show(text, 400);
  const [head = '', tail = ''] = shown.text.split(/\n\[… [\d,]+ bytes omitted; REST\]\n/u);
  assert.ok(shown.truncated);
  assert.ok(head.startsWith('line 0\n') && head.length <= 100 && head.length > 80);
  assert.ok(tail.endsWith('line 999\n') && tail.length <= 300 && tail.length > 280);
  assert.match(head, /line \d+$/u);
  assert.match(tail, /^line \d+\n/u);
  const omitted = Number(/([\d,]+) bytes omitted/u.exec(shown.text)?.[1]?.replaceAll(',', ''));
  assert.equal(omitted + Buffer.byteLength(head) + Buffer.byteLength(tail), text.length);
});

test('one endless line is cut inside, but never inside a character', () => {
  const random = new Random(3);
  for (let round = 0; round < 300; round++) {
    const text = Array.from({ length: 400 }, () => random.pick(['a', 'é', '語', '😀'])).join('');
    const shown = show(text, 20 + random.below(300));
    assert.doesNotMatch(shown.text, /\uFFFD/u);
    assert.ok(shown.truncated);
  }
});

test('what is shown never exceeds what was asked for, beside the mark', () => {
  const random = new Random(5);
  for (let round = 0; round < 500; round++) {
    const bytes = Buffer.from(
      Array.from({ length: random.below(3_000) }, () => (random.below(9) === 0 ? 10 : 97 + random.below(20))),
    );
    const bytesMax = random.below(2_000);
    const { text, truncated } = show(bytes, bytesMax);
    const [head = '', tail = ''] = text.split(/\[… .* omitted; REST\]/u);
    assert.ok(Buffer.byteLength(head) + Buffer.byteLength(tail) <= bytesMax + 2);
    assert.equal(truncated, bytes.length > bytesMax);
  }
});

test('what the server itself cut is said to be missing', () => {
  assert.deepEqual(show('abc', 100, 5_000), { text: 'abc\n[… 4,997 bytes omitted; REST]', truncated: true });
});

test('binary output is named, not shown', () => {
  assert.deepEqual(show(Buffer.from([0, 1, 2]), 100), {
    text: '[3 bytes of binary output; write it to a file in a run with disposable=false, then download that file]',
    truncated: true,
  });
  assert.ok(isBinary(Buffer.from(Array.from({ length: 256 }, (_, byte) => 255 - byte).filter((byte) => byte > 127))));
  assert.ok(!isBinary(Buffer.from('naïve café — ✓ 日本語')));
  assert.ok(!isBinary(Buffer.from('mostly text \xff with one odd byte', 'latin1')));
});

test('of output whose middle was dropped the real end is shown', () => {
  const kept = {
    first: Buffer.from('first line\n'.repeat(100)),
    last: Buffer.from('x\nthe error\n'),
    totalBytes: 9_999,
  };
  const { text, truncated } = showOutput(kept, 100, 'REST');
  assert.ok(truncated);
  assert.match(text, /^first line\nfirst line\n\[… 9,966 bytes omitted; REST\]\nx\nthe error\n$/u);
});

test('paging goes on behind a gap, and always advances', () => {
  const kept = { first: Buffer.from('0123456789'), last: Buffer.from('WXYZ'), totalBytes: 100 };
  const cut = (offset: number, length: number): [string, number] => {
    const part = cutOutput(kept, offset, length);
    return [part.bytes.toString(), part.offset];
  };
  assert.deepEqual(cut(0, 4), ['0123', 0]);
  assert.deepEqual(cut(8, 4), ['89', 8]);
  assert.deepEqual(cut(10, 3), ['WXY', 96]);
  assert.deepEqual(cut(99, 9), ['Z', 99]);
  assert.deepEqual(cut(200, 9), ['', 100]);
  assert.deepEqual(cut(-2, 9), ['YZ', 98]);
  assert.deepEqual(cut(-50, 9), ['WXYZ', 96]);
  assert.deepEqual(cut(-1_000, 2), ['01', 0]);
});
