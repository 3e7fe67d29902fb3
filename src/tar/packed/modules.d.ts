/** Parts of packages without types of their own, as far as they are used. */

declare module 'unbzip2-stream/lib/bit_iterator.js' {
  /** Reads bits; null goes on to the next byte. */
  type Bits = ((count: number | null) => number | undefined) & { bytesRead: number };
  export default function bitIterator(next: () => Uint8Array): Bits;
  export { type Bits };
}

declare module 'unbzip2-stream/lib/bzip2.js' {
  import type { Bits } from 'unbzip2-stream/lib/bit_iterator.js';
  const bzip2: {
    /** Reads the header of a stream and returns the size of its blocks, in 100,000 bytes. */
    header(bits: Bits): number;
    /** Unpacks a block and returns the checksum so far; null at the end of a stream. */
    decompress(
      bits: Bits,
      take: (byte: number) => void,
      block: Int32Array,
      size: number,
      checksum: number,
    ): number | null;
  };
  export default bzip2;
}
