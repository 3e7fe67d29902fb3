import { fault } from '../../contract/errors.ts';

/** Reads the fields of a guest's payload one after the other; every length is checked against the bytes that remain. */
export class FieldReader {
  #rest: Buffer;

  constructor(payload: Buffer) {
    this.#rest = payload;
  }

  #take(count: number): Buffer {
    if (count > this.#rest.length) throw fault('GUEST_PROTOCOL', { reason: 'a payload shorter than its fields' });
    const taken = this.#rest.subarray(0, count);
    this.#rest = this.#rest.subarray(count);
    return taken;
  }

  u8(): number {
    return this.#take(1).readUInt8();
  }

  u32(): number {
    return this.#take(4).readUInt32LE();
  }

  i32(): number {
    return this.#take(4).readInt32LE();
  }

  /** Reads 64 bits. A number too large for JavaScript becomes the largest safe integer, which no real counter reaches. */
  u64(): number {
    const value = this.#take(8).readBigUInt64LE();
    return value > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : Number(value);
  }

  /** Reads text for people and logs: bytes that are not UTF-8 are replaced and control characters dropped. */
  text(bytesMax: number): string {
    const length = this.u32();
    if (length > bytesMax) throw fault('GUEST_PROTOCOL', { reason: `a text of ${length} bytes` });
    return this.#take(length)
      .toString('utf8')
      .replaceAll(/[\p{Cc}\p{Cf}]/gu, ' ');
  }

  list<Item>(countMax: number, item: () => Item): Item[] {
    const count = this.u32();
    if (count > countMax) throw fault('GUEST_PROTOCOL', { reason: `a list of ${count} items` });
    return Array.from({ length: count }, item);
  }

  end(): void {
    if (this.#rest.length > 0) throw fault('GUEST_PROTOCOL', { reason: 'a payload longer than its fields' });
  }
}

/** Writes fields one after the other. */
export class FieldWriter {
  readonly #parts: Buffer[] = [];

  #put(bytes: number, write: (part: Buffer) => void): this {
    const part = Buffer.allocUnsafe(bytes);
    write(part);
    this.#parts.push(part);
    return this;
  }

  u8(value: number): this {
    return this.#put(1, (part) => part.writeUInt8(value));
  }

  u16(value: number): this {
    return this.#put(2, (part) => part.writeUInt16LE(value));
  }

  u32(value: number): this {
    return this.#put(4, (part) => part.writeUInt32LE(value));
  }

  u64(value: number | bigint): this {
    return this.#put(8, (part) => part.writeBigUInt64LE(BigInt(value)));
  }

  raw(value: Uint8Array): this {
    this.#parts.push(Buffer.from(value.buffer, value.byteOffset, value.byteLength));
    return this;
  }

  bytes(value: Uint8Array): this {
    return this.u32(value.byteLength).raw(value);
  }

  text(value: string): this {
    return this.bytes(Buffer.from(value, 'utf8'));
  }

  list<Item>(items: readonly Item[], put: (item: Item) => unknown): this {
    this.u32(items.length);
    for (const item of items) put(item);
    return this;
  }

  payload(): Buffer {
    return Buffer.concat(this.#parts);
  }
}
