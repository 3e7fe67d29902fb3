/** Bytes of the length in front of each Ethernet frame. */
export const LENGTH_BYTES = 4;
/** Ethernet header, a VLAN tag, and the largest IP packet. */
const FRAME_BYTES_MAX = 18 + 65_535;

/**
 * Reads the stream framing of QEMU's `-netdev stream`: `[length u32 BE]`, then `length` bytes of Ethernet frame.
 *
 * The peer is hostile: a frame longer than `FRAME_BYTES_MAX` is skipped as it comes in and never held, so at most
 * one frame plus one chunk is in memory.
 */
export class FrameReader {
  #held: Buffer[] = [];
  #heldBytes = 0;
  /** Bytes of `#held` without which nothing can be decided. */
  #neededBytes = LENGTH_BYTES;
  #skipBytes = 0;
  readonly #take: (framed: Buffer) => void;
  readonly #oversize: () => void;

  /**
   * `take` is given each frame with its length in front; the bytes are its own to change and keep. `oversize` is called
   * for each frame that was too long to look at.
   */
  constructor(take: (framed: Buffer) => void, oversize: () => void) {
    this.#take = take;
    this.#oversize = oversize;
  }

  /** Reports whether bytes are held that another `push`, even an empty one, can look at. */
  get isBehind(): boolean {
    return this.#heldBytes > 0 && this.#heldBytes >= this.#neededBytes;
  }

  /** Reads up to `framesMax` frames and holds the rest. Returns the number of frames read. */
  push(chunk: Buffer, framesMax: number = Infinity): number {
    if (this.#heldBytes === 0) return this.#split(chunk, framesMax);
    if (chunk.length > 0) this.#held.push(chunk);
    this.#heldBytes += chunk.length;
    // Joined once per frame, however small its pieces are.
    if (this.#heldBytes < this.#neededBytes) return 0;
    const [first = chunk, ...others] = this.#held;
    const joined = others.length === 0 ? first : Buffer.concat(this.#held, this.#heldBytes);
    this.#held = [];
    this.#heldBytes = 0;
    return this.#split(joined, framesMax);
  }

  #split(bytes: Buffer, framesMax: number): number {
    let count = 0;
    let at = Math.min(this.#skipBytes, bytes.length);
    this.#skipBytes -= at;
    while (count < framesMax && bytes.length - at >= LENGTH_BYTES) {
      const length = bytes.readUInt32BE(at);
      const end = at + LENGTH_BYTES + length;
      if (length > FRAME_BYTES_MAX) {
        this.#oversize();
        this.#skipBytes = Math.max(0, end - bytes.length);
      } else if (end > bytes.length) {
        break;
      } else {
        this.#take(bytes.subarray(at, end));
      }
      at = Math.min(end, bytes.length);
      count += 1;
    }
    this.#hold(bytes.subarray(at));
    return count;
  }

  #hold(rest: Buffer): void {
    if (rest.length === 0) return;
    this.#held.push(rest);
    this.#heldBytes = rest.length;
    const length = rest.length < LENGTH_BYTES ? 0 : rest.readUInt32BE(0);
    // A frame that is too long is skipped as soon as that is known.
    this.#neededBytes = LENGTH_BYTES + (length > FRAME_BYTES_MAX ? 0 : length);
  }
}
