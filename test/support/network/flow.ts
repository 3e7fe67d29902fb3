import assert from 'node:assert/strict';
import type { Address } from '../../../src/std/ip/address.ts';
import { PROTOCOL, TCP_FLAG } from '../../../src/sandbox/network/packet.ts';
import { checksumsAreRight, type Received } from './guest.ts';

/** A power of two, so that positions may wrap as sequence numbers do. No test shifts data by exactly this distance. */
const PERIOD = 2 ** 18;
const PATTERN = Buffer.from(Uint8Array.from({ length: PERIOD }, (_, at) => Math.imul(at, 2_654_435_761) >>> 24));
const REPEATED = Buffer.concat([PATTERN, PATTERN]);

/** Returns bytes that are a function of their position alone: a repeated byte is the same, a misplaced one is another. */
export function bytesAt(position: number, length: number): Buffer {
  const parts: Buffer[] = [];
  for (let done = 0; done < length; done += PERIOD) {
    const from = (position + done) & (PERIOD - 1);
    parts.push(REPEATED.subarray(from, from + Math.min(PERIOD, length - done)));
  }
  return parts.length === 1 ? Buffer.from(parts[0] ?? []) : Buffer.concat(parts);
}

/** `a - b` of sequence numbers, which wrap. */
function distance(a: number, b: number): number {
  return (a - b) | 0;
}

/**
 * Checks every frame that a filter sends on one port of a guest whose servers write `bytesAt(0, …)`: it belongs to the
 * flow, carries the right bytes of the stream, and stays within the guest's window. Windows are not scaled.
 */
export class FlowJudge {
  readonly #ends: { readonly guest: Address; readonly server: Address; readonly port: number };
  /** State from the guest's segments so far; a SYN opens the window without acknowledging anything. */
  readonly #said: { readonly acknowledgement: number | undefined; readonly windowBytes: number }[] = [];
  /** The server's initial sequence number, and the number of bytes sent after it. */
  #first: number | undefined;
  #sent = 0;
  /** Number of checked payload bytes. */
  payloadBytes = 0;

  constructor(ends: { readonly guest: Address; readonly server: Address; readonly port: number }) {
    this.#ends = ends;
  }

  say(flags: number, acknowledgement: number, windowBytes: number): void {
    const opens = (flags & (TCP_FLAG.syn | TCP_FLAG.ack)) === TCP_FLAG.syn;
    this.#said.push({ acknowledgement: opens ? undefined : acknowledgement, windowBytes });
  }

  /** Throws for an invalid frame. `writtenBytes` is the most that any of the servers has written. */
  judge({ frame, packet, payload }: Received, writtenBytes: number): void {
    assert.ok(packet?.protocol === PROTOCOL.tcp, 'an answer is a segment');
    assert.ok(checksumsAreRight(frame));
    const { guest, server, port } = this.#ends;
    assert.deepEqual([packet.source, packet.destination], [server, guest]);
    assert.deepEqual([packet.sourcePort, packet.destinationPort], [80, port]);
    const sequence = frame.readUInt32BE(packet.transport + 4);
    const { flags } = packet;
    if ((flags & TCP_FLAG.syn) !== 0 && sequence !== this.#first) [this.#first, this.#sent] = [sequence, 0];
    const ends = (flags & TCP_FLAG.fin) !== 0;
    if (payload.length === 0 && !ends) return;
    assert.ok(this.#first !== undefined, 'nothing is sent before the connection is accepted');
    const at = distance(sequence, this.#first) - 1;
    assert.ok(at >= 0 && at + payload.length <= writtenBytes, `${at} + ${payload.length} of ${writtenBytes}`);
    assert.ok(payload.equals(bytesAt(at, payload.length)), `the bytes at ${at}`);
    if (payload.length > 0) assert.ok(at + payload.length <= this.#room(), `${at} + ${payload.length} has room`);
    this.#sent = Math.max(this.#sent, at + payload.length + (ends ? 1 : 0));
    this.payloadBytes += payload.length;
  }

  /** End of the guest's window, by any acknowledgement that may have been valid. */
  #room(): number {
    const first = this.#first ?? 0;
    return Math.max(
      ...this.#said.map(({ acknowledgement, windowBytes }) => {
        const acknowledged = acknowledgement === undefined ? 0 : distance(acknowledgement, first) - 1;
        return acknowledged < 0 || acknowledged > this.#sent ? 0 : acknowledged + windowBytes;
      }),
    );
  }
}
