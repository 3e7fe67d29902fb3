import { fault } from '../../contract/errors.ts';
import { limits } from '../../contract/limits.ts';
import { assert } from '../../std/assert.ts';

/*
 * One frame (docs/guest-protocol.md §5), little-endian:
 *
 *   0        1        2                 4                                   8
 *  ┌────────┬────────┬─────────────────┬───────────────────────────────────┬───────────…
 *  │version │ kind   │ process         │ payload length                    │ payload
 *  └────────┴────────┴─────────────────┴───────────────────────────────────┴───────────…
 */
const VERSION = 1;
const HEADER_BYTES = 8;
export const PAYLOAD_BYTES_MAX = limits.frameBytesMax - HEADER_BYTES;

export interface Frame {
  readonly kind: number;
  /** Number of the process; 0 for frames that concern none. */
  readonly process: number;
  readonly payload: Buffer;
}

export function encodeFrame(kind: number, process: number, payload: Uint8Array): Buffer {
  assert(payload.byteLength <= PAYLOAD_BYTES_MAX, 'a frame is never larger than both sides agreed on');
  const frame = Buffer.allocUnsafe(HEADER_BYTES + payload.byteLength);
  frame.writeUInt8(VERSION, 0);
  frame.writeUInt8(kind, 1);
  frame.writeUInt16LE(process, 2);
  frame.writeUInt32LE(payload.byteLength, 4);
  frame.set(payload, HEADER_BYTES);
  return frame;
}

/** Size below which payloads are copied, so that a few retained bytes do not retain the whole chunk. */
const COPIED_BYTES_MAX = 16 * 1024;

/**
 * Cuts the byte stream of a guest into frames. The guest is hostile: a length is checked before anything is allocated for
 * it, and at most one frame is ever held.
 */
export class FrameDecoder {
  readonly #header = Buffer.alloc(HEADER_BYTES);
  #headerBytes = 0;
  #payload: Buffer | undefined;
  #payloadBytes = 0;

  /** Frames completed by this chunk, in order. Throws GUEST_PROTOCOL; the decoder is useless afterwards. */
  *push(chunk: Buffer): Generator<Frame> {
    let rest = chunk;
    while (rest.length > 0) {
      rest = this.#payload === undefined ? this.#takeHeader(rest) : this.#takePayload(rest, this.#payload);
      if (this.#payload !== undefined && this.#payloadBytes === this.#payload.length) yield this.#finish(this.#payload);
      if (this.#payload === undefined && this.#headerBytes === HEADER_BYTES) {
        const whole = rest.subarray(0, this.#announced());
        if (whole.length === this.#announced()) {
          rest = rest.subarray(whole.length);
          yield this.#finish(whole.length <= COPIED_BYTES_MAX ? Buffer.from(whole) : whole);
        } else {
          this.#payload = Buffer.allocUnsafe(this.#announced());
        }
      }
    }
  }

  #takeHeader(chunk: Buffer): Buffer {
    const taken = chunk.copy(this.#header, this.#headerBytes);
    this.#headerBytes += taken;
    if (this.#headerBytes === HEADER_BYTES) {
      const version = this.#header.readUInt8(0);
      if (version !== VERSION) throw fault('GUEST_PROTOCOL', { reason: `a frame of version ${version}` });
      if (this.#announced() > PAYLOAD_BYTES_MAX) {
        throw fault('GUEST_PROTOCOL', { reason: `a frame of ${this.#announced()} bytes` });
      }
    }
    return chunk.subarray(taken);
  }

  #announced(): number {
    return this.#header.readUInt32LE(4);
  }

  #takePayload(chunk: Buffer, payload: Buffer): Buffer {
    const taken = chunk.copy(payload, this.#payloadBytes);
    this.#payloadBytes += taken;
    return chunk.subarray(taken);
  }

  #finish(payload: Buffer): Frame {
    const frame = { kind: this.#header.readUInt8(1), process: this.#header.readUInt16LE(2), payload };
    this.#headerBytes = 0;
    this.#payload = undefined;
    this.#payloadBytes = 0;
    return frame;
  }
}
