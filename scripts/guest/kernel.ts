import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync, zstdDecompressSync } from 'node:zlib';

/** Offsets in the setup header of a bzImage (Documentation/arch/x86/boot.rst). */
const SETUP_SECTORS = 0x1f1;
const MAGIC = 0x202;
const PAYLOAD_OFFSET = 0x248;
const PAYLOAD_LENGTH = 0x24c;

const VMLINUX_BYTES_MAX = 256 * 1024 * 1024;

const ELF = Buffer.from('\x7fELF', 'latin1');

/**
 * Returns the uncompressed ELF kernel of a kernel image: the image itself if it is one, otherwise the payload of a
 * bzImage, decompressed according to its magic number.
 */
export function extractVmlinux(image: Buffer, scratch: string): Buffer {
  if (image.subarray(0, 4).equals(ELF)) return image;
  if (image.length < 0x250 || image.toString('latin1', MAGIC, MAGIC + 4) !== 'HdrS') {
    throw new Error('not a kernel: neither an ELF file nor a bzImage');
  }
  const start = (image.readUInt8(SETUP_SECTORS) + 1) * 512 + image.readUInt32LE(PAYLOAD_OFFSET);
  const payload = image.subarray(start, start + image.readUInt32LE(PAYLOAD_LENGTH));
  const vmlinux = decompress(payload, scratch);
  if (!vmlinux.subarray(0, 4).equals(ELF)) throw new Error('the kernel image holds no ELF kernel');
  return vmlinux;
}

/**
 * Payload of a bzImage. The uncompressed length is appended to it; `tail` is what a strict decompressor must not see.
 */
function decompress(payload: Buffer, scratch: string): Buffer {
  const magic = payload.toString('hex', 0, 6);
  const body = payload.subarray(0, payload.length - 4);
  if (magic.startsWith('7f454c46')) return payload;
  if (magic.startsWith('02214c18')) return lz4Legacy(body);
  if (magic.startsWith('28b52ffd')) return zstdDecompressSync(body, { maxOutputLength: VMLINUX_BYTES_MAX });
  if (magic.startsWith('1f8b')) return gunzipSync(body, { maxOutputLength: VMLINUX_BYTES_MAX });
  if (magic.startsWith('fd377a585a00')) return unxz(body, scratch);
  throw new Error(`the kernel is compressed in a way we do not know (${magic})`);
}

/** Decompresses xz, the only format that Node cannot read; its tool is part of every distribution's base system. */
export function unxz(bytes: Buffer, scratch: string): Buffer {
  const file = join(scratch, 'payload.xz');
  writeFileSync(file, bytes);
  const { status, stdout, stderr } = spawnSync('xz', ['-dc', '--single-stream', file], {
    maxBuffer: VMLINUX_BYTES_MAX,
  });
  if (status !== 0) throw new Error(`xz cannot read it: ${String(stderr)}`);
  return stdout;
}

/** Decompresses LZ4's legacy frame: magic, then blocks of at most 8 MiB, each preceded by its compressed length. */
export function lz4Legacy(bytes: Buffer): Buffer {
  const out = Buffer.allocUnsafe(VMLINUX_BYTES_MAX);
  let length = 0;
  for (let at = 4; at + 4 <= bytes.length;) {
    const size = bytes.readUInt32LE(at);
    length = lz4Block(bytes.subarray(at + 4, at + 4 + size), out, length);
    at += 4 + size;
  }
  return Buffer.from(out.subarray(0, length));
}

/** Decodes one block after the `length` bytes already in `out`; returns the new length. */
function lz4Block(block: Buffer, out: Buffer, length: number): number {
  let from = 0;
  let to = length;
  const extended = (nibble: number): number => {
    if (nibble < 15) return nibble;
    let total = nibble;
    let byte: number;
    do {
      byte = block.readUInt8(from++);
      total += byte;
    } while (byte === 255);
    return total;
  };
  while (from < block.length) {
    const token = block.readUInt8(from++);
    const literals = extended(token >> 4);
    if (from + literals > block.length || to + literals > out.length) throw new Error('the kernel is damaged (LZ4)');
    to += block.copy(out, to, from, from + literals);
    from += literals;
    if (from >= block.length) break;
    const distance = block.readUInt16LE(from);
    from += 2;
    const end = to + extended(token & 15) + 4;
    if (distance === 0 || distance > to || end > out.length) throw new Error('the kernel is damaged (LZ4)');
    // A match may overlap what it produces: copy at most `distance` bytes at a time.
    while (to < end) to += out.copy(out, to, to - distance, Math.min(to, end - distance));
  }
  return to;
}

/** Reports whether the ELF kernel has the Xen note that lets QEMU enter it directly (PVH). */
export function hasPvhEntry(vmlinux: Buffer): boolean {
  // Note header: name of 4 bytes ("Xen\0"), type 18 (XEN_ELFNOTE_PHYS32_ENTRY).
  const name = Buffer.from('\x12\0\0\0Xen\0', 'latin1');
  return vmlinux.includes(name);
}

/** Returns the release in a kernel's banner: `6.1.0-56-cloud-amd64`. */
export function kernelRelease(vmlinux: Buffer): string {
  const at = vmlinux.indexOf('Linux version ');
  const [, release] = /^Linux version (\S+) /u.exec(vmlinux.toString('latin1', at, at + 200)) ?? [];
  if (at < 0 || release === undefined) throw new Error('the kernel does not name its version');
  return release;
}

/** Returns the package version and build date from the same banner, where the distribution puts them (Debian does). */
export function kernelBuild(vmlinux: Buffer): { readonly version: string; readonly date: string } | undefined {
  const at = vmlinux.indexOf('Linux version ');
  const banner = vmlinux.toString('latin1', at, at + 400).split('\n')[0] ?? '';
  const [, version, date] = /Debian (\S+) \((\d{4}-\d{2}-\d{2})\)/u.exec(at < 0 ? '' : banner) ?? [];
  return version === undefined || date === undefined ? undefined : { version, date };
}

export function readKernel(path: string, scratch: string): Buffer {
  return extractVmlinux(readFileSync(path), scratch);
}
