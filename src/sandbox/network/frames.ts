import type { Writable } from 'node:stream';
import { assert } from '../../std/assert.ts';

/** Bytes of the length in front of each Ethernet frame. */
export const LENGTH_BYTES = 4;
/** Ethernet header, a VLAN tag, and the largest IP packet. */
const FRAME_BYTES_MAX = 18 + 65_535;
/** What a socket pair takes whole or not at all, length included. */
export const WHOLE_BYTES_MAX = 32 * 1024;

/**
 * Reads the stream framing of `-netdev stream` and of passt: `[length u32 BE]`, then `length` bytes of Ethernet frame.
 *
 * Both peers are hostile: a frame longer than `FRAME_BYTES_MAX` is skipped as it comes in and never held, so at most
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
   * `take` is given each frame with its length in front; the bytes are its own to change and keep. `oversize` is told
   * of each frame that was too long to look at.
   */
  constructor(take: (framed: Buffer) => void, oversize: () => void) {
    this.#take = take;
    this.#oversize = oversize;
  }

  push(chunk: Buffer): void {
    if (this.#heldBytes === 0) {
      this.#split(chunk);
      return;
    }
    this.#held.push(chunk);
    this.#heldBytes += chunk.length;
    // Joined once per frame, however small the pieces are in which it comes.
    if (this.#heldBytes < this.#neededBytes) return;
    const joined = Buffer.concat(this.#held, this.#heldBytes);
    this.#held = [];
    this.#heldBytes = 0;
    this.#split(joined);
  }

  #split(bytes: Buffer): void {
    let at = Math.min(this.#skipBytes, bytes.length);
    this.#skipBytes -= at;
    while (bytes.length - at >= LENGTH_BYTES) {
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
    }
    this.#hold(bytes.subarray(at));
  }

  #hold(rest: Buffer): void {
    if (rest.length === 0) return;
    this.#held.push(rest);
    this.#heldBytes = rest.length;
    this.#neededBytes = LENGTH_BYTES + (rest.length < LENGTH_BYTES ? 0 : rest.readUInt32BE(0));
  }
}

/**
 * Writes frames to a passt, each in one system call of its own and never one before the other is with the kernel.
 *
 * That is a matter of safety: a passt of 2023 that reads a part of a frame can lose its place in the stream and take
 * what the guest sent as payload for frames, which nobody has filtered. With one call per frame of at most
 * `WHOLE_BYTES_MAX` there are no parts.
 */
export class FrameWriter {
  readonly #stream: Writable;
  readonly #emptied: () => void;
  #waiting: Buffer[] = [];

  #full = false;

  /** `emptied` is called once after `write` said that there is no room, when there is again. */
  constructor(stream: Writable, emptied: () => void) {
    this.#stream = stream;
    this.#emptied = emptied;
  }

  /** Whether there is room for more; what is given all the same is kept. */
  write(framed: Buffer): boolean {
    assert(framed.length <= WHOLE_BYTES_MAX, 'a frame is written whole');
    if (this.#waiting.length === 0 && this.#isIdle()) this.#submit(framed);
    else this.#waiting.push(framed);
    this.#full = !this.#isIdle();
    return !this.#full;
  }

  #submit(framed: Buffer): void {
    this.#stream.write(framed, this.#written);
  }

  /** The stream holds nothing back: a second write would be merged with what it holds. */
  #isIdle(): boolean {
    return this.#stream.writableLength === 0;
  }

  readonly #written = (): void => {
    let sent = 0;
    for (; sent < this.#waiting.length && this.#isIdle(); sent += 1) {
      const framed = this.#waiting[sent];
      if (framed !== undefined) this.#submit(framed);
    }
    if (sent > 0) this.#waiting = this.#waiting.slice(sent);
    if (!this.#full || !this.#isIdle()) return;
    this.#full = false;
    this.#emptied();
  };
}
