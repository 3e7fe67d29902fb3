import { randomInt } from 'node:crypto';
import { TCP_BYTES, TCP_FLAG, type Packet } from '../packet.ts';
import { answering, type Endpoints, type Segment } from '../reply.ts';

/** Connections of one guest held at once; the one quiet for longest gives way. */
const STREAMS_MAX = 32;
/** A question over TCP: its length, then the message. Several may follow each other. */
const LENGTH_BYTES = 2;
const RECEIVED_BYTES_MAX = LENGTH_BYTES + 4_096;
/** Answers that the guest does not take. */
const UNSENT_BYTES_MAX = 256 * 1024;
const SEGMENT_BYTES_MAX = 32_768;
const SEGMENT_BYTES_DEFAULT = 536;
const WINDOW_BYTES = 8_192;

interface Stream {
  readonly between: Endpoints;
  /** The next byte expected from the guest, and the next one to send. */
  receiveNext: number;
  sendNext: number;
  /** The first byte sent that the guest has not acknowledged. */
  unacknowledged: number;
  windowBytes: number;
  readonly segmentBytes: number;
  received: Buffer;
  /** Answers waiting for room in the guest's window. */
  unsent: Buffer;
  questions: number;
  /** The guest has sent all it will. */
  ended: boolean;
}

/**
 * DNS over TCP, spoken by the filter itself: just as much of TCP as a question and its answer need on a link that loses
 * and reorders nothing. Nothing is sent twice; a guest that misses something asks again.
 */
export class DnsStreams {
  readonly #streams = new Map<string, Stream>();
  readonly #ask: (message: Buffer) => Promise<Buffer | undefined>;
  readonly #send: (between: Endpoints, segment: Segment) => void;

  constructor(
    ask: (message: Buffer) => Promise<Buffer | undefined>,
    send: (between: Endpoints, segment: Segment) => void,
  ) {
    this.#ask = ask;
    this.#send = send;
  }

  /** Takes a TCP segment that the guest sent to the DNS port; `frame` is only looked at during the call. */
  receive(frame: Buffer, packet: Packet): void {
    const key = `${packet.family}/${packet.sourcePort}`;
    const { flags } = packet;
    if ((flags & TCP_FLAG.rst) !== 0) {
      this.#streams.delete(key);
      return;
    }
    if ((flags & TCP_FLAG.syn) !== 0) {
      this.#open(key, frame, packet);
      return;
    }
    const stream = this.#streams.get(key);
    if (stream === undefined) return;
    // Most recently used last.
    this.#streams.delete(key);
    this.#streams.set(key, stream);
    this.#take(key, stream, frame, packet);
  }

  #open(key: string, frame: Buffer, packet: Packet): void {
    const [quietest] = this.#streams.keys();
    if (this.#streams.size >= STREAMS_MAX && quietest !== undefined) this.#streams.delete(quietest);
    const first = randomInt(0x1_0000_0000 - 1);
    const stream: Stream = {
      between: answering(packet),
      receiveNext: (frame.readUInt32BE(packet.transport + 4) + 1) >>> 0,
      sendNext: (first + 1) >>> 0,
      unacknowledged: (first + 1) >>> 0,
      windowBytes: frame.readUInt16BE(packet.transport + 14),
      segmentBytes: segmentBytesOf(frame.subarray(packet.transport + TCP_BYTES, packet.payload)),
      received: Buffer.alloc(0),
      unsent: Buffer.alloc(0),
      questions: 0,
      ended: false,
    };
    this.#streams.set(key, stream);
    const options = Buffer.alloc(4);
    options.writeUInt16BE(0x0204, 0);
    options.writeUInt16BE(SEGMENT_BYTES_MAX, 2);
    this.#send(stream.between, {
      sequence: first,
      acknowledgement: stream.receiveNext,
      flags: TCP_FLAG.syn | TCP_FLAG.ack,
      windowBytes: WINDOW_BYTES,
      options,
    });
  }

  #take(key: string, stream: Stream, frame: Buffer, packet: Packet): void {
    const payload = frame.subarray(packet.payload, packet.end);
    const ends = (packet.flags & TCP_FLAG.fin) !== 0;
    const acknowledged = (frame.readUInt32BE(packet.transport + 8) - stream.unacknowledged) >>> 0;
    if (acknowledged <= (stream.sendNext - stream.unacknowledged) >>> 0) {
      stream.unacknowledged = (stream.unacknowledged + acknowledged) >>> 0;
      stream.windowBytes = frame.readUInt16BE(packet.transport + 14);
    }
    const inOrder = frame.readUInt32BE(packet.transport + 4) === stream.receiveNext;
    if (inOrder && !stream.ended) {
      stream.receiveNext = (stream.receiveNext + payload.length + (ends ? 1 : 0)) >>> 0;
      stream.ended = ends;
      this.#read(key, stream, payload);
    }
    if (payload.length > 0 || ends) this.#emit(stream, TCP_FLAG.ack);
    this.#flush(key, stream);
  }

  #read(key: string, stream: Stream, payload: Buffer): void {
    let bytes = Buffer.concat([stream.received, payload]);
    while (bytes.length >= LENGTH_BYTES && bytes.length >= LENGTH_BYTES + bytes.readUInt16BE(0)) {
      const end = LENGTH_BYTES + bytes.readUInt16BE(0);
      stream.questions += 1;
      void this.#reply(key, stream, bytes.subarray(LENGTH_BYTES, end));
      bytes = bytes.subarray(end);
    }
    stream.received = bytes;
    if (bytes.length > RECEIVED_BYTES_MAX) this.#abort(key, stream);
  }

  async #reply(key: string, stream: Stream, question: Buffer): Promise<void> {
    // It rejects only when the network is closing: nobody is left to be told.
    const answer = await this.#ask(question).catch(() => undefined);
    stream.questions -= 1;
    if (this.#streams.get(key) !== stream) return;
    if (answer === undefined || stream.unsent.length > UNSENT_BYTES_MAX) {
      this.#abort(key, stream);
      return;
    }
    const length = Buffer.alloc(LENGTH_BYTES);
    length.writeUInt16BE(answer.length, 0);
    stream.unsent = Buffer.concat([stream.unsent, length, answer]);
    this.#flush(key, stream);
  }

  #flush(key: string, stream: Stream): void {
    if (this.#streams.get(key) !== stream) return;
    while (stream.unsent.length > 0) {
      const underWay = (stream.sendNext - stream.unacknowledged) >>> 0;
      const room = Math.min(stream.windowBytes - underWay, stream.segmentBytes, stream.unsent.length);
      if (room <= 0) return;
      this.#emit(stream, TCP_FLAG.ack | TCP_FLAG.psh, stream.unsent.subarray(0, room));
      stream.sendNext = (stream.sendNext + room) >>> 0;
      stream.unsent = stream.unsent.subarray(room);
    }
    if (!stream.ended || stream.questions > 0) return;
    this.#emit(stream, TCP_FLAG.fin | TCP_FLAG.ack);
    this.#streams.delete(key);
  }

  #abort(key: string, stream: Stream): void {
    this.#emit(stream, TCP_FLAG.rst | TCP_FLAG.ack);
    this.#streams.delete(key);
  }

  #emit(stream: Stream, flags: number, payload?: Buffer): void {
    this.#send(stream.between, {
      sequence: stream.sendNext,
      acknowledgement: stream.receiveNext,
      flags,
      windowBytes: WINDOW_BYTES,
      ...(payload === undefined ? {} : { payload }),
    });
  }
}

/** The maximum segment size among TCP options; hostile, so everything is bounded. */
function segmentBytesOf(options: Buffer): number {
  for (let at = 0; at < options.length;) {
    const kind = options[at] ?? 0;
    const length = kind === 1 ? 1 : (options[at + 1] ?? 0);
    if (kind === 0 || length === 0 || at + length > options.length) break;
    if (kind === 2 && length === 4) {
      return Math.min(Math.max(options.readUInt16BE(at + 2), SEGMENT_BYTES_DEFAULT), SEGMENT_BYTES_MAX);
    }
    at += length;
  }
  return SEGMENT_BYTES_DEFAULT;
}
