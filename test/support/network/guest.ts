import assert from 'node:assert/strict';
import { duplexPair, type Duplex } from 'node:stream';
import { fromIp4, type Address } from '../../../src/std/ip/address.ts';
import { FrameReader, LENGTH_BYTES } from '../../../src/sandbox/network/frames.ts';
import { addressOf, GATEWAY_MAC, macBytes, type GuestLink } from '../../../src/sandbox/network/link.ts';
import { emptyPacket, parsePacket, PROTOCOL, TCP_FLAG, type Packet } from '../../../src/sandbox/network/packet.ts';
import { tcpFrame, udpFrame, type Endpoints, type Segment } from '../../../src/sandbox/network/reply.ts';

/** Time limit of a step on a busy machine. */
const PATIENCE_MS = 10_000;

/** A frame that the guest received. */
export interface Received {
  readonly frame: Buffer;
  /** Absent for anything but IP. */
  readonly packet?: Packet;
  readonly payload: Buffer;
}

/** A guest at the level of frames: sends what the test wants, and records what it receives. */
export class ScriptedGuest {
  readonly link: GuestLink;
  readonly address: Address;
  readonly #socket: Duplex;
  readonly #ends: { readonly guestMac: Buffer; readonly gatewayMac: Buffer };
  readonly #received: Received[] = [];
  #arrived = Promise.withResolvers<void>();

  /** `socket` is the guest's end of the link that the filter reads. */
  constructor(socket: Duplex, link: GuestLink) {
    this.#socket = socket;
    this.link = link;
    this.address = addressOf(link.ip4);
    // The builder's "guest" is the receiver of the frame: here the gateway.
    this.#ends = { guestMac: macBytes(GATEWAY_MAC), gatewayMac: macBytes(link.mac) };
    const reader = new FrameReader((framed) => this.#take(framed.subarray(LENGTH_BYTES)), assert.fail);
    socket.on('data', (chunk: Buffer) => reader.push(chunk));
  }

  #take(frame: Buffer): void {
    const packet = emptyPacket();
    const isPacket = parsePacket(frame, packet) === undefined;
    const payload = isPacket ? frame.subarray(packet.payload, packet.end) : Buffer.alloc(0);
    this.#received.push({ frame, payload, ...(isPacket && { packet }) });
    this.#arrived.resolve();
    this.#arrived = Promise.withResolvers();
  }

  /** Sends a raw frame, with its length in front. */
  sendFrame(frame: Buffer): void {
    const length = Buffer.alloc(LENGTH_BYTES);
    length.writeUInt32BE(frame.length, 0);
    this.#socket.write(Buffer.concat([length, frame]));
  }

  udp(to: Address, port: number, payload: Buffer | string, sourcePort = 40_000): void {
    this.#socket.write(udpFrame(this.#ends, this.#between(to, port, sourcePort), Buffer.from(payload)));
  }

  segment(to: Address, port: number, segment: Partial<Segment>, sourcePort = 40_000): void {
    const whole = { sequence: 0, acknowledgement: 0, flags: 0, windowBytes: 64_240, ...segment };
    this.#socket.write(tcpFrame(this.#ends, this.#between(to, port, sourcePort), whole));
  }

  #between(destination: Address, destinationPort: number, sourcePort: number): Endpoints {
    const source = destination[2] === 0xffff ? this.address : addressOf(this.link.ip6 ?? '::');
    return { source, destination, sourcePort, destinationPort };
  }

  /** Returns the first matching frame among those already received and those to come; each is returned once. */
  async next(fits: (received: Received) => boolean = () => true): Promise<Received> {
    const patience = AbortSignal.timeout(PATIENCE_MS);
    for (;;) {
      const index = this.#received.findIndex(fits);
      const [found] = index < 0 ? [] : this.#received.splice(index, 1);
      if (found !== undefined) return found;
      patience.throwIfAborted();
      await Promise.race([
        this.#arrived.promise,
        new Promise((_, reject) => {
          patience.addEventListener('abort', () => reject(new Error('no such frame came')), { once: true });
        }),
      ]);
    }
  }

  /** Returns all received frames that were not taken yet. */
  heard(): readonly Received[] {
    return this.#received;
  }

  /** Resolves when the filter has processed everything sent before: it answers an ARP request after that. */
  async settled(): Promise<void> {
    this.sendFrame(arpRequest(this.link));
    await this.next(({ frame }) => frame.readUInt16BE(12) === 0x0806);
  }

  /** Opens a TCP connection; rejects when it is refused. */
  async connect(to: Address, port: number, sourcePort = 41_000): Promise<Connection> {
    const connection = new Connection(this, { to, port, sourcePort });
    await connection.open();
    return connection;
  }
}

/** Initial sequence number, that of the SYN. */
const FIRST = 1_000;
const SEGMENT_BYTES = 2_000;
/** Receive window of the peer at least, before it acknowledges. */
const UNDER_WAY_BYTES = 40_000;

/** Minimal TCP for tests on a link that loses nothing. */
export class Connection {
  readonly #guest: ScriptedGuest;
  readonly #target: { readonly to: Address; readonly port: number; readonly sourcePort: number };
  #sendNext = FIRST;
  #receiveNext = 0;
  /** First byte that was sent and not acknowledged. */
  #unacknowledged = FIRST;
  /** True once the peer has sent FIN. */
  ended = false;

  constructor(
    guest: ScriptedGuest,
    target: { readonly to: Address; readonly port: number; readonly sourcePort: number },
  ) {
    this.#guest = guest;
    this.#target = target;
  }

  async open(): Promise<void> {
    // Segments of up to 3,960 bytes and a window scale of 7, as Linux has it on this link.
    const options = Buffer.from([2, 4, 0x0f, 0x78, 3, 3, 7, 0]);
    this.#send({ flags: TCP_FLAG.syn, sequence: this.#sendNext, options });
    this.#sendNext += 1;
    const { frame, packet } = await this.#next();
    assert.ok(packet);
    if ((packet.flags & TCP_FLAG.rst) !== 0) throw new Error('refused');
    assert.equal(packet.flags, TCP_FLAG.syn | TCP_FLAG.ack);
    this.#receiveNext = (frame.readUInt32BE(packet.transport + 4) + 1) >>> 0;
    this.#send({ flags: TCP_FLAG.ack });
  }

  write(payload: Buffer | string): void {
    const bytes = Buffer.from(payload);
    this.#send({ flags: TCP_FLAG.ack | TCP_FLAG.psh, payload: bytes });
    this.#sendNext = (this.#sendNext + bytes.length) >>> 0;
  }

  /** Sends many bytes, no faster than they are acknowledged. */
  async writeAll(bytes: Buffer): Promise<void> {
    for (let at = 0; at < bytes.length; at += SEGMENT_BYTES) {
      while (this.#sendNext - this.#unacknowledged > UNDER_WAY_BYTES) this.#acknowledge(await this.#next());
      this.write(bytes.subarray(at, at + SEGMENT_BYTES));
    }
  }

  #acknowledge({ frame, packet }: Received): void {
    if (packet !== undefined) this.#unacknowledged = frame.readUInt32BE(packet.transport + 8);
  }

  /** Returns the bytes acknowledged by the next segment. */
  async acknowledged(): Promise<number> {
    this.#acknowledge(await this.#next());
    return this.#unacknowledged - FIRST - 1;
  }

  end(): void {
    this.#send({ flags: TCP_FLAG.ack | TCP_FLAG.fin });
    this.#sendNext = (this.#sendNext + 1) >>> 0;
  }

  reset(): void {
    this.#send({ flags: TCP_FLAG.rst });
  }

  /** Reads at least this many bytes, or all up to the end. */
  async read(bytes = Infinity): Promise<Buffer> {
    const chunks: Buffer[] = [];
    let length = 0;
    while (length < bytes && !this.ended) {
      const { frame, packet, payload } = await this.#next();
      assert.ok(packet);
      if ((packet.flags & TCP_FLAG.rst) !== 0) throw new Error('reset');
      if (frame.readUInt32BE(packet.transport + 4) !== this.#receiveNext) continue;
      const ends = (packet.flags & TCP_FLAG.fin) !== 0;
      this.#receiveNext = (this.#receiveNext + payload.length + (ends ? 1 : 0)) >>> 0;
      this.ended = ends;
      chunks.push(payload);
      length += payload.length;
      if (payload.length > 0 || ends) this.#send({ flags: TCP_FLAG.ack });
    }
    return Buffer.concat(chunks);
  }

  #send(segment: Partial<Segment>): void {
    const { to, port, sourcePort } = this.#target;
    const numbers = { sequence: this.#sendNext, acknowledgement: this.#receiveNext, windowBytes: 500 };
    this.#guest.segment(to, port, { ...numbers, ...segment }, sourcePort);
  }

  async #next(): Promise<Received> {
    const { port, sourcePort } = this.#target;
    return await this.#guest.next(
      ({ packet }) =>
        packet?.protocol === PROTOCOL.tcp && packet.sourcePort === port && packet.destinationPort === sourcePort,
    );
  }
}

/** Sends an ARP request for the gateway's address. */
export function arpRequest(link: GuestLink): Buffer {
  const own = Buffer.from(link.ip4.split('.').map(Number));
  const gateway = Buffer.from(link.gateway4.split('.').map(Number));
  return Buffer.concat([
    Buffer.alloc(6, 0xff),
    macBytes(link.mac),
    Buffer.from('08060001080006040001', 'hex'),
    macBytes(link.mac),
    own,
    Buffer.alloc(6),
    gateway,
  ]);
}

/** Both ends of a link: the filter's and the test's. */
export function wire(): readonly [Duplex, Duplex] {
  return duplexPair();
}

export function ip4(a: number, b: number, c: number, d: number): Address {
  return fromIp4(((a << 24) | (b << 16) | (c << 8) | d) >>> 0);
}

/**
 * Verifies the checksums of an IPv4 or IPv6 frame by the plain algorithm of the RFCs, independently of the code that
 * makes them.
 */
export function checksumsAreRight(frame: Buffer): boolean {
  const v4 = frame.readUInt16BE(12) === 0x0800;
  const header = frame.subarray(14, v4 ? 34 : 54);
  const body = frame.subarray(v4 ? 34 : 54);
  const protocol = header[v4 ? 9 : 6] ?? 0;
  const addresses = v4 ? header.subarray(12, 20) : header.subarray(8, 40);
  const pseudo = Buffer.concat([addresses, Buffer.from([0, protocol, body.length >> 8, body.length & 0xff])]);
  const covered = protocol === PROTOCOL.icmp4 ? body : Buffer.concat([pseudo, body]);
  return (!v4 || onesComplement(header) === 0xffff) && onesComplement(covered) === 0xffff;
}

function onesComplement(bytes: Buffer): number {
  const padded = bytes.length % 2 === 0 ? bytes : Buffer.concat([bytes, Buffer.alloc(1)]);
  let sum = 0;
  for (let at = 0; at < padded.length; at += 2) {
    sum += padded.readUInt16BE(at);
    if (sum > 0xffff) sum -= 0xffff;
  }
  return sum;
}
