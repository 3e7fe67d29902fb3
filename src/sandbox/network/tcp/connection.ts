import { randomInt } from 'node:crypto';
import type { Duplex } from 'node:stream';
import { TCP_BYTES, TCP_FLAG, type Packet } from '../packet.ts';
import { answering, type Endpoints, type Segment } from '../reply.ts';
import { Inflow } from './inflow.ts';
import { OWN_SHIFT, readSynOptions, synOptions, type SynOptions } from './options.ts';
import { SendQueue } from './send-queue.ts';

/** The other end of a guest's connection. */
export interface Far {
  readonly stream: Duplex;
  /** Resolves when the far end has accepted; rejects when it refuses. */
  readonly accepted: Promise<void>;
}

/** The part of a shared link that a connection needs. */
export interface Link {
  /** Payload of the largest segment that fits into a frame. */
  readonly segmentBytesMax: number;
  readonly send: (between: Endpoints, segment: Segment) => void;
  /** Returns false when the guest's end accepts no more; `pump` is called when it does again. */
  readonly hasRoom: (waiting: Connection) => boolean;
  /** Bytes that a connection may hold now in each direction; the more connections there are, the less each may hold. */
  readonly shareBytes: () => number;
  readonly closed: (connection: Connection) => void;
}

/** The link loses nothing, but a guest short of memory does. */
const RETRANSMIT_MS_MIN = 1_000;
const RETRANSMIT_MS_MAX = 16_000;
const RETRANSMITS_MAX = 8;
const DUPLICATE_ACKS = 3;

/** `a - b` of sequence numbers, which wrap. */
function distance(a: number, b: number): number {
  return (a - b) | 0;
}

/**
 * One TCP connection that the guest opened, terminated here and joined to a stream (RFC 9293, the passive side).
 *
 * Connecting → open → closed. Each direction ends on its own, as TCP and streams both have it. Bytes are acknowledged
 * when the stream has taken them; a stream that does not drain closes the guest's window, a guest that does not read
 * pauses the stream.
 */
export class Connection {
  readonly #link: Link;
  readonly #far: Far;
  readonly #between: Endpoints;
  readonly #syn: SynOptions;
  readonly #synSequence: number;
  readonly #first = randomInt(0xffff_ffff);
  readonly #queue = new SendQueue();
  readonly #inflow: Inflow;
  #state: 'connecting' | 'open' | 'closed' = 'connecting';
  /** The next byte expected from the guest. */
  #receiveNext: number;
  /** Numbers of the next byte to send, of the one after the last ever sent, and of the first unacknowledged one. */
  #sendNext: number;
  #sendMost: number;
  #unacknowledged: number;
  #windowBytes: number;
  #announcedBytes = 0xffff;
  #duplicateAcks = 0;
  #retransmits = 0;
  #retransmitAtMs = Infinity;
  /** True when the guest has sent its last byte; when the stream has; when the FIN to the guest is sent. */
  #guestEnded = false;
  #streamEnded = false;
  #finSent = false;

  /** `packet` is the SYN in `frame`. */
  constructor(link: Link, far: Far, frame: Buffer, packet: Packet) {
    this.#link = link;
    this.#far = far;
    this.#between = answering(packet);
    this.#syn = readSynOptions(frame.subarray(packet.transport + TCP_BYTES, packet.payload));
    this.#synSequence = frame.readUInt32BE(packet.transport + 4);
    this.#receiveNext = (this.#synSequence + 1) >>> 0;
    this.#sendNext = (this.#first + 1) >>> 0;
    this.#sendMost = this.#sendNext;
    this.#unacknowledged = this.#sendNext;
    this.#windowBytes = frame.readUInt16BE(packet.transport + 14);
    this.#inflow = new Inflow(far.stream, () => this.#reopenWindow());
    this.#follow();
  }

  #follow(): void {
    const { stream, accepted } = this.#far;
    accepted.then(
      () => this.#accept(),
      () => this.#reset(),
    );
    stream.on('data', (chunk: Buffer) => {
      this.#queue.push(chunk);
      if (this.#queue.heldBytes >= this.#link.shareBytes()) stream.pause();
      this.pump();
    });
    stream.on('end', () => {
      this.#streamEnded = true;
      this.pump();
    });
    stream.on('error', () => {});
    stream.on('close', () => {
      // The stream was closed before its end, which the guest must not take for the end of the data.
      if (!this.#streamEnded) this.#reset();
    });
  }

  #accept(): void {
    if (this.#state !== 'connecting') return;
    this.#state = 'open';
    this.#sendSyn();
  }

  #sendSyn(): void {
    const { segmentBytesMax, send } = this.#link;
    send(this.#between, {
      sequence: this.#first,
      acknowledgement: this.#receiveNext,
      flags: TCP_FLAG.syn | TCP_FLAG.ack,
      // The window of a SYN is never scaled.
      windowBytes: 0xffff,
      options: synOptions(this.#syn, segmentBytesMax),
    });
  }

  /** Takes a segment of the guest. Returns whether an acknowledgement is owed (`acknowledge`). */
  receive(frame: Buffer, packet: Packet, nowMs: number): boolean {
    const { flags, transport } = packet;
    const sequence = frame.readUInt32BE(transport + 4);
    if ((flags & TCP_FLAG.rst) !== 0) {
      // Only a reset with the exact number ends it; others get an acknowledgement and are repeated if genuine (RFC 5961 §3.2).
      const ends = sequence === this.#receiveNext || this.#state === 'connecting';
      if (ends) this.abandon();
      return !ends;
    }
    if ((flags & TCP_FLAG.syn) !== 0) {
      if (this.#state === 'open') this.#sendSyn();
      return false;
    }
    if (this.#state !== 'open' || (flags & TCP_FLAG.ack) === 0) return false;
    this.#takeAcknowledgement(frame, packet, nowMs);
    const owes = this.#takePayload(frame.subarray(packet.payload, packet.end), sequence, (flags & TCP_FLAG.fin) !== 0);
    this.pump();
    this.#closeWhenDone();
    return owes;
  }

  /** Reports whether `frame`'s SYN begins another connection between the same ends. */
  isSupersededBy(frame: Buffer, packet: Packet): boolean {
    const begins = (packet.flags & (TCP_FLAG.syn | TCP_FLAG.ack)) === TCP_FLAG.syn;
    return begins && frame.readUInt32BE(packet.transport + 4) !== this.#synSequence;
  }

  #takeAcknowledgement(frame: Buffer, { transport, payload, end }: Packet, nowMs: number): void {
    const windowBytes = frame.readUInt16BE(transport + 14) << (this.#syn.shift ?? 0);
    const underWay = distance(this.#sendMost, this.#unacknowledged);
    const acknowledged = distance(frame.readUInt32BE(transport + 8), this.#unacknowledged);
    const isDuplicate = acknowledged === 0 && payload === end && underWay > 0 && windowBytes === this.#windowBytes;
    if (acknowledged < 0 || acknowledged > underWay) return;
    if (this.#windowBytes === 0 && windowBytes > 0) this.#expectAnswer(nowMs, underWay > acknowledged);
    this.#windowBytes = windowBytes;
    if (isDuplicate && ++this.#duplicateAcks === DUPLICATE_ACKS) this.#rewind();
    if (acknowledged === 0) return;
    // Only the FIN to the guest lies beyond the data; it may have been sent before the last rewind.
    if (acknowledged > this.#queue.bytes) this.#finSent = true;
    this.#queue.drop(Math.min(acknowledged, this.#queue.bytes));
    this.#unacknowledged = (this.#unacknowledged + acknowledged) >>> 0;
    if (distance(this.#unacknowledged, this.#sendNext) > 0) this.#sendNext = this.#unacknowledged;
    this.#duplicateAcks = 0;
    this.#expectAnswer(nowMs, acknowledged < underWay);
    if (this.#queue.heldBytes < this.#link.shareBytes() / 2) this.#far.stream.resume();
  }

  /** Restarts count and timer of retransmissions, because the guest has answered. */
  #expectAnswer(nowMs: number, isUnderWay: boolean): void {
    this.#retransmits = 0;
    this.#retransmitAtMs = isUnderWay ? nowMs + RETRANSMIT_MS_MIN : Infinity;
  }

  #takePayload(payload: Buffer, sequence: number, ends: boolean): boolean {
    const known = distance(this.#receiveNext, sequence);
    // An old sequence number without payload is a keepalive and asks for an acknowledgement.
    if (payload.length === 0 && !ends) return known !== 0;
    const fresh = payload.subarray(Math.max(known, 0));
    // Out of order, repeated, or beyond the window: acknowledge again.
    const overrun = fresh.length > 0 && this.#inflow.heldBytes >= this.#receiveBytesMax();
    if (known < 0 || known > payload.length || this.#guestEnded || overrun) return true;
    if (fresh.length > 0 && this.#far.stream.destroyed) {
      // The far end is closed and takes nothing more: answered like a closed socket.
      this.#reset();
      return false;
    }
    if (fresh.length > 0) this.#inflow.write(fresh);
    this.#receiveNext = (this.#receiveNext + fresh.length + (ends ? 1 : 0)) >>> 0;
    if (ends) {
      this.#guestEnded = true;
      this.#far.stream.end();
    }
    return true;
  }

  acknowledge(): void {
    if (this.#state === 'open') this.#emit(TCP_FLAG.ack);
  }

  /** Tells the guest that there is room again, if it believes that there is little. */
  #reopenWindow(): void {
    if (this.#roomBytes() - this.#announcedBytes >= this.#receiveBytesMax() / 2) this.acknowledge();
  }

  #roomBytes(): number {
    return Math.max(0, this.#receiveBytesMax() - this.#inflow.heldBytes);
  }

  /** Bytes on their way to the far end when a guest sends as much as it may. */
  #receiveBytesMax(): number {
    return Math.min(this.#link.shareBytes(), 0xffff << this.#ownShift());
  }

  #ownShift(): number {
    return this.#syn.shift === undefined ? 0 : OWN_SHIFT;
  }

  /** Sends what the guest's window and the link let through. */
  pump(): void {
    if (this.#state !== 'open') return;
    const segmentBytes = Math.min(this.#syn.segmentBytes, this.#link.segmentBytesMax);
    for (;;) {
      const underWay = distance(this.#sendNext, this.#unacknowledged);
      const waiting = this.#queue.bytes - underWay;
      const allowed = this.#windowBytes - underWay;
      // Avoids tiny segments (RFC 9293 §3.8.6.2.1), as long as data is in flight.
      if (waiting <= 0 || allowed <= 0 || (allowed < Math.min(segmentBytes, waiting) && underWay > 0)) break;
      if (!this.#link.hasRoom(this)) return;
      const payload = this.#queue.peek(underWay, Math.min(segmentBytes, waiting, allowed));
      this.#emit(TCP_FLAG.ack | TCP_FLAG.psh, payload);
      this.#sent(payload.length);
    }
    if (!this.#streamEnded || this.#finSent || distance(this.#sendNext, this.#unacknowledged) < this.#queue.bytes)
      return;
    this.#finSent = true;
    this.#emit(TCP_FLAG.ack | TCP_FLAG.fin);
    this.#sent(1);
  }

  #sent(bytes: number): void {
    this.#sendNext = (this.#sendNext + bytes) >>> 0;
    if (distance(this.#sendNext, this.#sendMost) > 0) this.#sendMost = this.#sendNext;
    if (this.#retransmitAtMs === Infinity) this.#retransmitAtMs = performance.now() + RETRANSMIT_MS_MIN;
  }

  /** Sends again from the first byte that was not acknowledged. */
  #rewind(): void {
    this.#sendNext = this.#unacknowledged;
    this.#finSent = false;
    this.pump();
  }

  /** Repeats what got no answer, and probes a guest whose window is closed. Called at intervals. */
  check(nowMs: number): void {
    if (this.#state !== 'open') return;
    const isStuck = this.#queue.bytes > 0 && this.#windowBytes === 0;
    if (isStuck && this.#retransmitAtMs === Infinity) this.#retransmitAtMs = nowMs + RETRANSMIT_MS_MIN;
    // Data that waits on the link is not lost; the guest is slow.
    if (nowMs < this.#retransmitAtMs || !this.#link.hasRoom(this)) return;
    this.#retransmits += 1;
    this.#retransmitAtMs = nowMs + Math.min(RETRANSMIT_MS_MIN * 2 ** this.#retransmits, RETRANSMIT_MS_MAX);
    if (isStuck) this.#probe();
    else if (this.#retransmits > RETRANSMITS_MAX) this.#reset();
    else this.#rewind();
  }

  /** Sends an old sequence number, which makes the guest report its position and window. */
  #probe(): void {
    const { send } = this.#link;
    const sequence = (this.#unacknowledged - 1) >>> 0;
    send(this.#between, {
      sequence,
      acknowledgement: this.#receiveNext,
      flags: TCP_FLAG.ack,
      windowBytes: this.#window(),
    });
  }

  #closeWhenDone(): void {
    if (!this.#guestEnded || !this.#finSent || this.#sendMost !== this.#unacknowledged) return;
    // Bytes of the guest may still be on their way out; the stream flushes them.
    this.acknowledge();
    this.#state = 'closed';
    this.#link.closed(this);
  }

  #reset(): void {
    if (this.#state === 'closed') return;
    this.#emit(TCP_FLAG.rst | TCP_FLAG.ack);
    this.abandon();
  }

  /** Ends everything at once and sends nothing to the guest. */
  abandon(): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    const { stream } = this.#far;
    if ('resetAndDestroy' in stream) (stream as { resetAndDestroy: () => void }).resetAndDestroy();
    else stream.destroy();
    this.#link.closed(this);
  }

  /** The window to announce now, as it goes into a segment. */
  #window(): number {
    const window = this.#roomBytes() >> this.#ownShift();
    this.#announcedBytes = window << this.#ownShift();
    return window;
  }

  #emit(flags: number, payload?: Buffer): void {
    this.#link.send(this.#between, {
      sequence: this.#sendNext,
      acknowledgement: this.#receiveNext,
      flags,
      windowBytes: this.#window(),
      ...(payload === undefined ? {} : { payload }),
    });
  }
}
