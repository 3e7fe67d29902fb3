import type { Duplex } from 'node:stream';
import { bytesOfAddress, formatAddress, type Address } from '../../std/ip-address.ts';
import type { DnsServer } from './dns/server.ts';
import { dialDns } from './dns/stream.ts';
import { FrameReader, FrameWriter, LENGTH_BYTES, WHOLE_BYTES_MAX } from './frames.ts';
import { addressOf, GATEWAY_MAC, macBytes, type GuestLink } from './link.ts';
import {
  emptyPacket,
  ETHERNET_BYTES,
  ETHERTYPE,
  IP6_BYTES,
  parsePacket,
  PROTOCOL,
  protocolName,
  TCP_BYTES,
  type Malformation,
  type Packet,
} from './packet.ts';
import type { Reach } from './reach.ts';
import { answering, arpReply, neighbourAdvertisement, prohibited, tcpFrame, tcpReset, udpFrame } from './reply.ts';
import type { Far } from './tcp/connection.ts';
import { TcpRelay } from './tcp/relay.ts';
import type { UseCounter } from './use.ts';

export interface FilterOptions {
  readonly link: GuestLink;
  readonly reach: Reach;
  readonly dns: DnsServer;
  readonly use: UseCounter;
  /** The way out for UDP and ICMP, opened when it is first needed; undefined while there is none. */
  readonly outside: () => Duplex | undefined;
  /** Opens a TCP connection of the host; the filter has permitted it. */
  readonly dial: (host: string, port: number) => Far;
}

const DNS_PORT = 53;
const LOOPBACK = '127.0.0.1';
/** Answers of our own that wait for the guest to read; beyond it they are dropped like on any full link. */
const WAITING_BYTES_MAX = 1024 * 1024;
/** Refusals that are answered, so that programs fail at once; a flood gets silence. */
const REFUSALS_PER_SECOND = 1_000;

/**
 * Stands between a guest's Ethernet and the outside and lets through what the policy permits. The guest is hostile, and
 * so is what comes back. Frames that pass are handed on as they came; nothing is held but the frame in the making, and a
 * side that does not read stops the other.
 */
export class Filter {
  readonly #options: FilterOptions;
  readonly #ends: { readonly guestMac: Buffer; readonly gatewayMac: Buffer };
  readonly #guest4: Address;
  readonly #gateway4: Address;
  readonly #guest6: Address | undefined;
  readonly #gateway6: Address | undefined;
  readonly #relay: TcpRelay;
  readonly #outbound = emptyPacket();
  readonly #inbound = emptyPacket();
  #qemu: Duplex | undefined;
  #outside: FrameWriter | undefined;
  #answersLeft = REFUSALS_PER_SECOND;
  #answersFilledMs = 0;

  constructor(options: FilterOptions) {
    const { link } = options;
    this.#options = options;
    this.#ends = { guestMac: macBytes(link.mac), gatewayMac: macBytes(GATEWAY_MAC) };
    this.#guest4 = addressOf(link.ip4);
    this.#gateway4 = addressOf(link.gateway4);
    this.#guest6 = link.ip6 === undefined ? undefined : addressOf(link.ip6);
    this.#gateway6 = link.gateway6 === undefined ? undefined : addressOf(link.gateway6);
    this.#relay = new TcpRelay({
      segmentBytesMax: link.mtuBytes - IP6_BYTES - TCP_BYTES,
      dial: (address, port) => this.#dial(address, port),
      send: (between, segment) => this.#toGuest(tcpFrame(this.#ends, between, segment)),
      hasRoom: () => this.#qemu !== undefined && !this.#qemu.writableNeedDrain,
    });
  }

  /** Filters what comes from `qemu` from now on. Once. */
  attach(qemu: Duplex): void {
    this.#qemu = qemu;
    const reader = new FrameReader(
      (framed) => this.#fromGuest(framed),
      () => this.#options.use.refused('oversized frame'),
    );
    qemu.on('data', (chunk: Buffer) => {
      reader.push(chunk);
      this.#relay.flush();
    });
    qemu.on('drain', () => this.#relay.resume());
    // The machine's end is for its owner to notice.
    qemu.on('error', () => {});
  }

  /** Stops taking frames from the guest, and ends its connections. */
  detach(): void {
    this.#relay[Symbol.dispose]();
    this.#qemu?.removeAllListeners('data').resume();
    this.#qemu = undefined;
  }

  #dial(address: Address, port: number): Far {
    const isGateway = isSame(address, this.#gateway4);
    if (isGateway && port === DNS_PORT) return dialDns((message) => this.#options.dns.answer(message, 'tcp'));
    // What the owner of the host opened of its loopback.
    return this.#options.dial(isGateway ? LOOPBACK : formatAddress(address), port);
  }

  /** The way out, opened now if there is none; undefined when it cannot be opened. */
  #open(): FrameWriter | undefined {
    if (this.#outside !== undefined) return this.#outside;
    const stream = this.#options.outside();
    if (stream === undefined) return undefined;
    const writer = new FrameWriter(stream, () => this.#qemu?.resume());
    const reader = new FrameReader(
      (framed) => this.#fromOutside(framed),
      () => this.#options.use.refused('oversized frame from outside'),
    );
    stream.on('data', (chunk: Buffer) => {
      reader.push(chunk);
      if (this.#qemu?.writableNeedDrain !== true) return;
      stream.pause();
      this.#qemu.once('drain', () => stream.resume());
    });
    stream.once('close', () => {
      this.#outside = undefined;
      this.#qemu?.resume();
    });
    this.#outside = writer;
    return writer;
  }

  #toGuest(framed: Buffer | undefined): void {
    if (framed === undefined || this.#qemu === undefined || this.#qemu.writableLength > WAITING_BYTES_MAX) return;
    this.#write(framed);
  }

  /** One system call for all that is written in a turn of the event loop. */
  #write(framed: Buffer): void {
    const qemu = this.#qemu;
    if (qemu === undefined) return;
    this.#options.use.received(framed.length - LENGTH_BYTES);
    if (qemu.writableCorked === 0) {
      qemu.cork();
      process.nextTick(() => qemu.uncork());
    }
    qemu.write(framed);
  }

  #fromGuest(framed: Buffer): void {
    const { use } = this.#options;
    const frame = framed.subarray(LENGTH_BYTES);
    if (frame.length < ETHERNET_BYTES) return use.refused('malformed frame (too short)');
    // Also what the template's interface still sends under its old address just after a restore.
    if (frame.compare(this.#ends.guestMac, 0, 6, 6, 12) !== 0) return use.refused('foreign MAC address');
    if (frame.readUInt16BE(12) === ETHERTYPE.arp) {
      use.sent(frame.length);
      return this.#toGuest(arpReply(this.#ends, frame, bytesOfAddress(this.#gateway4)));
    }
    const packet = this.#outbound;
    const malformation = parsePacket(frame, packet);
    if (malformation !== undefined) return this.#refuseMalformed(frame, malformation);
    if (isLinkTalk(packet)) return this.#neighbour(frame, packet);
    if (!isSame(packet.source, packet.family === 4 ? this.#guest4 : this.#guest6)) {
      return use.refused(`foreign source address ${formatAddress(packet.source)}`);
    }
    if (isToDns(packet, this.#gateway4)) {
      use.sent(frame.length);
      return this.#askDns(frame, packet);
    }
    if (!isOutbound(packet)) return use.refused(describe(packet));
    if (!this.#options.reach.permits(packet)) return this.#refuse(frame, packet);
    use.sent(frame.length);
    if (packet.protocol === PROTOCOL.tcp) return this.#relayTcp(frame, packet);
    const outside = LENGTH_BYTES + packet.end > WHOLE_BYTES_MAX ? undefined : this.#open();
    if (outside === undefined) return this.#refuse(frame, packet);
    // Without padding: passt takes the bytes behind the packet for payload, and where we and it read a frame in two ways
    // there is a hole.
    framed.writeUInt32BE(packet.end, 0);
    if (!outside.write(framed.subarray(0, LENGTH_BYTES + packet.end))) this.#qemu?.pause();
  }

  /** What belongs to no connection is answered as a closed port answers it; that is no refusal of the policy. */
  #relayTcp(frame: Buffer, packet: Packet): void {
    if (!this.#relay.receive(frame, packet) && this.#mayAnswer()) this.#toGuest(tcpReset(this.#ends, frame, packet));
  }

  #fromOutside(framed: Buffer): void {
    const packet = this.#inbound;
    const frame = framed.subarray(LENGTH_BYTES);
    if (parsePacket(frame, packet) !== undefined || isLinkTalk(packet)) return;
    const expected =
      frame.compare(this.#ends.guestMac, 0, 6, 0, 6) === 0 &&
      isSame(packet.destination, packet.family === 4 ? this.#guest4 : this.#guest6) &&
      isInbound(packet) &&
      this.#options.reach.expects(packet);
    if (!expected) return this.#options.use.refused(`from outside: ${describe(packet, 'source')}`);
    this.#write(framed);
  }

  /** Neighbour discovery and group membership: the filter is the only neighbour, and there are no groups. */
  #neighbour(frame: Buffer, packet: Packet): void {
    if (packet.family === 6 && this.#gateway6 !== undefined) {
      this.#toGuest(neighbourAdvertisement(this.#ends, frame, packet, this.#gateway6));
    }
  }

  #askDns(frame: Buffer, packet: Packet): void {
    if (packet.protocol === PROTOCOL.tcp) return this.#relayTcp(frame, packet);
    const between = answering(packet);
    // Copied, because the chunk that the frame lies in may be large and the answer takes its time.
    const question = Buffer.from(frame.subarray(packet.payload, packet.end));
    this.#options.dns.answer(question, 'udp').then(
      (reply) => (reply === undefined ? undefined : this.#toGuest(udpFrame(this.#ends, between, reply))),
      // It fails only when the network is closing.
      () => undefined,
    );
  }

  /** Drops a packet and says so to the guest: a closed door is better than silence. */
  #refuse(frame: Buffer, packet: Packet): void {
    if (this.#mayAnswer()) {
      const gateway = packet.family === 4 ? this.#gateway4 : (this.#gateway6 ?? this.#gateway4);
      const isTcp = packet.protocol === PROTOCOL.tcp;
      this.#toGuest(isTcp ? tcpReset(this.#ends, frame, packet) : prohibited(this.#ends, frame, packet, gateway));
    }
    this.#options.use.refused(describe(packet));
  }

  #mayAnswer(): boolean {
    const nowMs = performance.now();
    if (nowMs - this.#answersFilledMs >= 1_000) {
      this.#answersFilledMs = nowMs;
      this.#answersLeft = REFUSALS_PER_SECOND;
    }
    this.#answersLeft -= 1;
    return this.#answersLeft >= 0;
  }

  #refuseMalformed(frame: Buffer, malformation: Malformation): void {
    // Group membership reports carry IP options and extension headers: an ordinary kernel's small talk.
    const isGroup = ((frame[0] ?? 0) & 1) === 1;
    if (isGroup && (malformation === 'IP options' || malformation === 'extension header')) return;
    this.#options.use.refused(`malformed frame (${malformation})`);
  }
}

function isSame(a: Address, b: Address | undefined): boolean {
  return b !== undefined && a[3] === b[3] && a[2] === b[2] && a[1] === b[1] && a[0] === b[0];
}

/** ICMPv6 from group membership to redirect; these never leave a link. */
function isLinkTalk({ protocol, icmpType }: Packet): boolean {
  const isNeighbour = icmpType >= 130 && icmpType <= 143;
  return protocol === PROTOCOL.igmp || (protocol === PROTOCOL.icmp6 && isNeighbour);
}

function isToDns({ protocol, destination, destinationPort }: Packet, dns: Address): boolean {
  const isTransport = protocol === PROTOCOL.udp || protocol === PROTOCOL.tcp;
  return isTransport && destinationPort === DNS_PORT && isSame(destination, dns);
}

/** What may go out at all: TCP, UDP, and requests for an echo. */
function isOutbound({ family, protocol, icmpType }: Packet): boolean {
  if (protocol === PROTOCOL.tcp || protocol === PROTOCOL.udp) return true;
  return family === 4 ? protocol === PROTOCOL.icmp4 && icmpType === 8 : protocol === PROTOCOL.icmp6 && icmpType === 128;
}

/** What comes back through passt: UDP, echoes, and what went wrong on the way. */
function isInbound({ family, protocol, icmpType }: Packet): boolean {
  if (protocol === PROTOCOL.udp) return true;
  return family === 4
    ? protocol === PROTOCOL.icmp4 && (icmpType === 0 || icmpType === 3 || icmpType === 11)
    : protocol === PROTOCOL.icmp6 && (icmpType === 129 || (icmpType >= 1 && icmpType <= 4));
}

/** For people: `tcp 10.0.0.1:22`, `icmp [fe80::1]`. */
function describe(packet: Packet, end: 'source' | 'destination' = 'destination'): string {
  const port = end === 'source' ? packet.sourcePort : packet.destinationPort;
  const address = formatAddress(packet[end]);
  const host = packet.family === 6 ? `[${address}]` : address;
  return `${protocolName(packet.protocol)} ${host}${port === 0 ? '' : `:${port}`}`;
}
