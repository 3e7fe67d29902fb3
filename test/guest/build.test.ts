import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtempDisposable } from 'node:fs/promises';
import { createHash } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { CHARACTER_DEVICE, cpio, DIRECTORY, EXECUTABLE } from '../../scripts/guest/cpio.ts';
import { extractVmlinux, hasPvhEntry, kernelRelease, lz4Legacy } from '../../scripts/guest/kernel.ts';

const DIST = join(import.meta.dirname, '../../guest/dist');

/** Returns a minimal bzImage with this payload. */
function bzImage(payload: Buffer): Buffer {
  const image = Buffer.alloc(1024);
  image.writeUInt8(1, 0x1f1);
  image.write('HdrS', 0x202);
  image.writeUInt32LE(0, 0x248);
  image.writeUInt32LE(payload.length, 0x24c);
  return Buffer.concat([image, payload, Buffer.from('what follows is not the payload')]);
}

/** One LZ4 block in the legacy frame. */
function lz4Frame(...blocks: readonly (readonly number[])[]): Buffer {
  const parts = blocks.map((block) => {
    const length = Buffer.alloc(4);
    length.writeUInt32LE(block.length);
    return Buffer.concat([length, Buffer.from(block)]);
  });
  return Buffer.concat([Buffer.from('02214c18', 'hex'), ...parts]);
}

const ascii = (text: string): number[] => [...Buffer.from(text)];

test('LZ4: literals, overlapping matches, long lengths, several blocks', () => {
  assert.equal(lz4Legacy(lz4Frame([0x30, ...ascii('abc')])).toString(), 'abc');
  // Three literals, then a match of 4 + 15 + 2 bytes three bytes back, then one literal.
  const overlapping = [0x3f, ...ascii('abc'), 3, 0, 2, 0x10, ...ascii('!')];
  assert.equal(lz4Legacy(lz4Frame(overlapping)).toString(), `${'abc'.repeat(8)}!`);
  const long = [0xf0, 255, 30, ...ascii('x'.repeat(300))];
  assert.equal(lz4Legacy(lz4Frame(long, [0x10, ...ascii('y')])).toString(), `${'x'.repeat(300)}y`);
});

test('LZ4: a match that points before the beginning is refused', () => {
  assert.throws(() => lz4Legacy(lz4Frame([0x10, ...ascii('a'), 9, 0, 0])), /damaged/u);
});

test('a kernel is unpacked whatever compressed it', async () => {
  await using scratch = await mkdtempDisposable(join(tmpdir(), 'contree-guest-'));
  const elf = Buffer.concat([Buffer.from('\x7fELF', 'latin1'), Buffer.alloc(500, 'k')]);
  const size = Buffer.alloc(4);
  size.writeUInt32LE(elf.length);
  const payloads = { plain: elf, gzip: gzipSync(elf), zstd: zstdCompressSync(elf) };
  assert.deepEqual(extractVmlinux(elf, scratch.path), elf, 'an ELF kernel is one already');
  assert.deepEqual(extractVmlinux(bzImage(payloads.plain), scratch.path), elf);
  for (const payload of [payloads.gzip, payloads.zstd]) {
    assert.deepEqual(extractVmlinux(bzImage(Buffer.concat([payload, size])), scratch.path), elf);
  }
});

test('a file that is not a kernel is refused by name', async () => {
  await using scratch = await mkdtempDisposable(join(tmpdir(), 'contree-guest-'));
  assert.throws(() => extractVmlinux(Buffer.alloc(2048), scratch.path), /not a kernel/u);
  assert.throws(() => extractVmlinux(bzImage(Buffer.from('BZh91AY&SY')), scratch.path), /compressed in a way/u);
  assert.throws(
    () => extractVmlinux(bzImage(Buffer.concat([gzipSync('no'), Buffer.alloc(4)])), scratch.path),
    /no ELF/u,
  );
});

test('the initramfs is a newc archive: aligned, in order, closed by a trailer', () => {
  const archive = cpio([
    { path: 'dev', mode: DIRECTORY },
    { path: 'dev/null', mode: CHARACTER_DEVICE, device: [1, 3] },
    { path: 'init', mode: EXECUTABLE, content: Buffer.from('hello') },
  ]);
  assert.equal(archive.length % 4, 0);
  const members = [...archive.toString('latin1').matchAll(/070701([0-9a-f]{104})([^\0]+)\0/gu)];
  assert.deepEqual(
    members.map(([, , name]) => name),
    ['dev', 'dev/null', 'init', 'TRAILER!!!'],
  );
  const [, device = '', init = ''] = members.map(([, fields]) => fields);
  assert.equal(device.slice(72, 88), '0000000100000003', 'major and minor number');
  assert.equal(Number.parseInt(init.slice(8, 16), 16), 0o100755);
  assert.equal(Number.parseInt(init.slice(48, 56), 16), 5, 'size');
});

test('what was built is what the manifest says', () => {
  const path = join(DIST, 'manifest.json');
  assert.ok(existsSync(path), 'guest/build makes it; scripts/setup calls that');
  const manifest = JSON.parse(readFileSync(path, 'utf8')) as {
    readonly kernel: string;
    readonly files: Readonly<Record<string, { readonly sha256: string; readonly bytes: number }>>;
  };
  for (const [name, { sha256, bytes }] of Object.entries(manifest.files)) {
    const content = readFileSync(join(DIST, name));
    assert.equal(content.length, bytes, name);
    assert.equal(createHash('sha256').update(content).digest('hex'), sha256, name);
  }
  const vmlinux = readFileSync(join(DIST, 'vmlinux'));
  assert.equal(kernelRelease(vmlinux), manifest.kernel);
  assert.ok(hasPvhEntry(vmlinux));
});
