import type { ByteString } from '../std/bytes.ts';
import { damaged } from './damage.ts';
import { BLOCK_BYTES, entryTypeOf, type InodeType, readUInt64, typeOfEntry } from './format.ts';

/*
 * A directory is a sequence of blocks, each complete in itself; entries ascend in byte order over all of them:
 *
 *   [nid u64][name offset u16][type u8][reserved u8]   × n, 12 bytes each; the first name offset is 12 n
 *   names, one behind the other; the last ends at the block's end or at a zero byte
 *
 * "." and ".." are ordinary entries in their places.
 */

const ENTRY_BYTES = 12;
const NAME_BYTES_MAX = 255;

export interface Dirent {
  readonly name: ByteString;
  readonly nid: number;
  readonly type: InodeType;
}

/** Splits ascending names into blocks: for each block, the index of its first name and its bytes in use. */
export function packDirectory(names: readonly ByteString[]): { readonly first: number; readonly bytes: number }[] {
  const blocks: { first: number; bytes: number }[] = [];
  let block = { first: 0, bytes: 0 };
  names.forEach((name, index) => {
    const bytes = ENTRY_BYTES + name.length;
    if (block.bytes + bytes > BLOCK_BYTES) {
      blocks.push(block);
      block = { first: index, bytes: 0 };
    }
    block.bytes += bytes;
  });
  blocks.push(block);
  return blocks;
}

/** Writes one block's entries at `at`. The target is zeroed. */
export function encodeDirectoryBlock(target: Buffer, at: number, entries: readonly Dirent[]): void {
  let nameOffset = entries.length * ENTRY_BYTES;
  entries.forEach(({ name, nid, type }, index) => {
    const entry = at + index * ENTRY_BYTES;
    target.writeUInt32LE(nid % 2 ** 32, entry);
    target.writeUInt32LE(Math.floor(nid / 2 ** 32), entry + 4);
    target.writeUInt16LE(nameOffset, entry + 8);
    target.writeUInt8(entryTypeOf(type), entry + 10);
    target.write(name, at + nameOffset, 'latin1');
    nameOffset += name.length;
  });
}

/** One block of a directory (its last may be shorter), read in place. Every offset is checked before it is used. */
export class DirectoryBlock {
  readonly #bytes: Buffer;
  readonly count: number;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
    const names = bytes.length >= ENTRY_BYTES ? bytes.readUInt16LE(8) : 0;
    if (names < ENTRY_BYTES || names % ENTRY_BYTES !== 0 || names > bytes.length) throw damagedBlock('first name');
    this.count = names / ENTRY_BYTES;
  }

  entry(index: number): Dirent {
    const at = index * ENTRY_BYTES;
    return {
      name: this.name(index),
      nid: readUInt64(this.#bytes, at),
      type: typeOfEntry(this.#bytes.readUInt8(at + 10)),
    };
  }

  name(index: number): ByteString {
    const start = this.#bytes.readUInt16LE(index * ENTRY_BYTES + 8);
    const last = index + 1 === this.count;
    let end = last ? this.#bytes.length : this.#bytes.readUInt16LE((index + 1) * ENTRY_BYTES + 8);
    if (start < this.count * ENTRY_BYTES || end > this.#bytes.length || end < start) throw damagedBlock('name offset');
    if (last) {
      const zero = this.#bytes.indexOf(0, start);
      if (zero !== -1) end = zero;
    }
    if (end === start || end - start > NAME_BYTES_MAX) throw damagedBlock('name length');
    const name = this.#bytes.toString('latin1', start, end);
    if (name.includes('/') || name.includes('\0')) throw damagedBlock('character in a name');
    return name;
  }

  /** Returns the entry of that name if this block has it. */
  find(name: ByteString): Dirent | undefined {
    let low = 0;
    let high = this.count - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      const found = this.name(middle);
      if (found === name) return this.entry(middle);
      if (found < name) low = middle + 1;
      else high = middle - 1;
    }
    return undefined;
  }
}

function damagedBlock(what: string): Error {
  return damaged(`a directory block has an invalid ${what}`);
}
