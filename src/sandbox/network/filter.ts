import type { Duplex } from 'node:stream';
import { bytesOfAddress, formatAddress, type Address } from '../../std/ip/address.ts';
import type { DnsServer } from './dns/server.ts';
import { dialDns } from './dns/stream.ts';
import { FrameReader, LENGTH_BYTES } from './frames.ts';
import { Intake } from './intake.ts';
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
import {
  answering,
  arpReply,
  neighbourAdvertisement,
  tcpFrame,
  tcpReset,
  udpFrame,
  destinationUnreachable,
  type Offending,
  type Unreachable,
} from './reply.ts';
import type { Far } from './tcp/connection.ts';
import { TcpRelay } from './tcp/relay.ts';
import type { FlowBudget } from './udp/budget.ts';
import type { DialUdp } from './udp/dial.ts';
import { UdpRelay } from './udp/relay.ts';
import type { UseCounter } from './use.ts';

export interface FilterOptions {
  readonly link: GuestLink;
  readonly reach: Reach;
  readonly dns: DnsServer;
  readonly use: UseCounter;
  /** Opens a TCP connection of the host; the filter has permitted it. */
  readonly dial: (host: string, port: number) => Far;
  /** The same for UDP. */
  readonly dialUdp: DialUdp;
  /** Shared by all runs. */
  readonly flows: FlowBudget;
}

const DNS_PORT = 53;
const LOOPBACK = '127.0.0.1';
/** Limit of the filter's own answers that wait for the guest; beyond it they are dropped, as on any full link. */
const WAITING_BYTES_MAX = 1024 * 1024;
/** Refusals that are answered, so that programs fail at once; in a flood the others get no answer. */
const REFUSALS_PER_SECOND = 1_000;

/** Errors of the host's kernel about a datagram that are passed on to the guest; the others are not worth a message. */
const UNREACHABLE_BY_CODE: Readonly<Record<string, Unreachable>> = {
  ECONNREFUSED: 'port',
  EHOSTUNREACH: 'host',
  ENETUNREACH: 'network',
  EACCES: 'prohibited',
  EPERM: 'prohibited',
};

/**
 * Stands between a guest's Ethernet and the outside and lets through what the policy permits. The guest is hostile, and
 * so is what comes back. TCP and UDP end here and go on through sockets of the host; no frame of the guest leaves, and
 * none comes in.
 */
export class Filter {
  readonly #options: FilterOptions;
  readonly #ends: { readonly guestMac: Buffer; readonly gatewayMac: Buffer };
  readonly #guest4: Address;
  readonly #gateway4: Address;
  readonly #guest6: Address | undefined;
  readonly #gateway6: Address | undefined;
  readonly #relay: TcpRelay;
  readonly #udp: UdpRelay;
  readonly #outbound = emptyPacket();
  #qemu: Duplex | undefined;
  #intake: Intake | undefined;
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
    this.#udp = new UdpRelay({
      mtuBytes: link.mtuBytes,
      budget: options.flows,
      dial: (address, port, heard) => options.dialUdp(this.#hostOf(address), port, heard),
      send: (between, payload) => this.#toGuest(udpFrame(this.#ends, between, payload)),
      failed: (offending, code) => this.#tellUnreachable(offending, UNREACHABLE_BY_CODE[code]),
    });
  }

  /** Filters what comes from `qemu` from now on. Once. */
  attach(qemu: Duplex): void {
    this.#qemu = qemu;
    const reader = new FrameReader(
      (framed) => this.#fromGuest(framed),
      () => this.#options.use.refused('oversized frame'),
    );
    this.#intake = new Intake(qemu, reader, () => this.#relay.flush());
    qemu.on('drain', () => this.#relay.resume());
    // The owner of the machine detects its end.
    qemu.on('error', () => {});
  }

  /** Stops taking frames from the guest, and ends its connections and flows. */
  detach(): void {
    this.#relay[Symbol.dispose]();
    this.#udp[Symbol.dispose]();
    this.#intake?.[Symbol.dispose]();
    this.#qemu = undefined;
  }

  #dial(address: Address, port: number): Far {
    const asksDns = isSame(address, this.#gateway4) && port === DNS_PORT;
    if (asksDns) return dialDns((message) => this.#options.dns.answer(message, 'tcp'));
    return this.#options.dial(this.#hostOf(address), port);
  }

  /** Returns the host's address for the guest's `address`. The gateway is the loopback, as far as the owner opened it. */
  #hostOf(address: Address): string {
    return isSame(address, this.#gateway4) ? LOOPBACK : formatAddress(address);
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
    // This includes frames that the template's interface sends with its old address just after a restore.
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
    if (isPing(packet)) return this.#refuse(frame, packet);
    if (!isOutbound(packet)) return use.refused(describe(packet));
    if (!this.#options.reach.permits(packet)) return this.#refuse(frame, packet);
    use.sent(frame.length);
    if (packet.protocol === PROTOCOL.tcp) return this.#relayTcp(frame, packet);
    if (!this.#udp.receive(frame, packet)) use.refused('udp: too many new flows');
  }

  /** Answers a segment that belongs to no connection as a closed port does; the policy has refused nothing then. */
  #relayTcp(frame: Buffer, packet: Packet): void {
    if (!this.#relay.receive(frame, packet) && this.#mayAnswer()) this.#toGuest(tcpReset(this.#ends, frame, packet));
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

  /** Drops a packet and reports that to the guest, so that programs fail at once instead of waiting. */
  #refuse(frame: Buffer, packet: Packet): void {
    this.#options.use.refused(describe(packet));
    if (packet.protocol !== PROTOCOL.tcp) return this.#tellUnreachable({ frame, packet }, 'prohibited');
    if (this.#mayAnswer()) this.#toGuest(tcpReset(this.#ends, frame, packet));
  }

  #tellUnreachable(offending: Offending, why: Unreachable | undefined): void {
    if (why === undefined || !this.#mayAnswer()) return;
    const gateway = offending.packet.family === 4 ? this.#gateway4 : (this.#gateway6 ?? this.#gateway4);
    this.#toGuest(destinationUnreachable(this.#ends, offending, gateway, why));
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
    // Ordinary kernels send group membership reports, which carry IP options and extension headers.
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

/** Destinations that may be reached at all. */
function isOutbound({ protocol }: Packet): boolean {
  return protocol === PROTOCOL.tcp || protocol === PROTOCOL.udp;
}

/** Reports whether a packet is an echo request. It gets no reply, but `ping` gets an error at once. */
function isPing({ family, protocol, icmpType }: Packet): boolean {
  return family === 4 ? protocol === PROTOCOL.icmp4 && icmpType === 8 : protocol === PROTOCOL.icmp6 && icmpType === 128;
}

/** Returns text for people: `tcp 10.0.0.1:22`, `icmp [fe80::1]`. */
function describe({ family, protocol, destination, destinationPort }: Packet): string {
  const address = formatAddress(destination);
  const host = family === 6 ? `[${address}]` : address;
  return `${protocolName(protocol)} ${host}${destinationPort === 0 ? '' : `:${destinationPort}`}`;
}
