import { readAddress, isMapped, type Address } from '../../std/ip/address.ts';

export const ETHERNET_BYTES = 14;
export const IP4_BYTES = 20;
export const IP6_BYTES = 40;
export const TCP_BYTES = 20;
export const UDP_BYTES = 8;

export const ETHERTYPE = { ip4: 0x0800, arp: 0x0806, ip6: 0x86dd } as const;
export const PROTOCOL = { icmp4: 1, igmp: 2, tcp: 6, udp: 17, icmp6: 58 } as const;
export const TCP_FLAG = { fin: 1, syn: 2, rst: 4, psh: 8, ack: 16 } as const;

/** Reason for which a frame is not a packet that the filter can judge. */
export type Malformation =
  | 'too short'
  | 'unknown ethertype'
  | 'wrong version'
  | 'wrong length'
  | 'IP options'
  | 'fragment'
  | 'extension header'
  | 'mapped address'
  | 'bad TCP header'
  | 'bad UDP header';

/**
 * The headers of one IP packet. One object is filled again and again, because frames come by the hundred thousand;
 * offsets count from the start of the Ethernet frame, and everything up to `end` is inside the frame.
 */
export interface Packet {
  family: 4 | 6;
  protocol: number;
  readonly source: Address;
  readonly destination: Address;
  /** 0 where the protocol has none. */
  sourcePort: number;
  destinationPort: number;
  /** TCP only. */
  flags: number;
  /** ICMP type; 0 for other protocols. */
  icmpType: number;
  /** First byte of the TCP, UDP or ICMP header. */
  transport: number;
  /** First byte after that header. */
  payload: number;
  end: number;
}

export function emptyPacket(): Packet {
  return {
    family: 4,
    protocol: 0,
    source: new Uint32Array(4),
    destination: new Uint32Array(4),
    sourcePort: 0,
    destinationPort: 0,
    flags: 0,
    icmpType: 0,
    transport: 0,
    payload: 0,
    end: 0,
  };
}

/**
 * Reads Ethernet, IP and transport headers of a hostile frame into `packet`. Refuses what no honest sender needs
 * (VLAN tags, IP options, fragments, extension headers), so that the peer cannot interpret a packet differently than
 * the filter. Returns the reason when there is no packet.
 */
export function parsePacket(frame: Buffer, packet: Packet): Malformation | undefined {
  if (frame.length < ETHERNET_BYTES) return 'too short';
  const ethertype = frame.readUInt16BE(12);
  packet.sourcePort = 0;
  packet.destinationPort = 0;
  packet.flags = 0;
  packet.icmpType = 0;
  if (ethertype === ETHERTYPE.ip4) return parseIp4(frame, packet) ?? parseTransport(frame, packet);
  if (ethertype === ETHERTYPE.ip6) return parseIp6(frame, packet) ?? parseTransport(frame, packet);
  return 'unknown ethertype';
}

function parseIp4(frame: Buffer, packet: Packet): Malformation | undefined {
  if (frame.length < ETHERNET_BYTES + IP4_BYTES) return 'too short';
  const version = frame.readUInt8(ETHERNET_BYTES);
  if (version >> 4 !== 4) return 'wrong version';
  if (version !== 0x45) return 'IP options';
  const total = frame.readUInt16BE(ETHERNET_BYTES + 2);
  if (total < IP4_BYTES || ETHERNET_BYTES + total > frame.length) return 'wrong length';
  // More-fragments flag or an offset. An honest sender never sets the reserved bit either.
  if ((frame.readUInt16BE(ETHERNET_BYTES + 6) & 0xbfff) !== 0) return 'fragment';
  packet.family = 4;
  packet.protocol = frame.readUInt8(ETHERNET_BYTES + 9);
  readAddress(frame, ETHERNET_BYTES + 12, 4, packet.source);
  readAddress(frame, ETHERNET_BYTES + 16, 4, packet.destination);
  packet.transport = ETHERNET_BYTES + IP4_BYTES;
  packet.payload = packet.transport;
  packet.end = ETHERNET_BYTES + total;
  return undefined;
}

/** Headers between IPv6 and the transport: hop-by-hop, routing, fragment, ESP, AH, options, mobility, HIP, shim6. */
const EXTENSION_HEADERS: ReadonlySet<number> = new Set([0, 43, 44, 50, 51, 60, 135, 139, 140, 253, 254]);

function parseIp6(frame: Buffer, packet: Packet): Malformation | undefined {
  if (frame.length < ETHERNET_BYTES + IP6_BYTES) return 'too short';
  if (frame.readUInt8(ETHERNET_BYTES) >> 4 !== 6) return 'wrong version';
  const length = frame.readUInt16BE(ETHERNET_BYTES + 4);
  packet.end = ETHERNET_BYTES + IP6_BYTES + length;
  if (packet.end > frame.length) return 'wrong length';
  packet.family = 6;
  packet.protocol = frame.readUInt8(ETHERNET_BYTES + 6);
  if (EXTENSION_HEADERS.has(packet.protocol)) return 'extension header';
  readAddress(frame, ETHERNET_BYTES + 8, 6, packet.source);
  readAddress(frame, ETHERNET_BYTES + 24, 6, packet.destination);
  if (isMapped(packet.source) || isMapped(packet.destination)) return 'mapped address';
  packet.transport = ETHERNET_BYTES + IP6_BYTES;
  packet.payload = packet.transport;
  return undefined;
}

function parseTransport(frame: Buffer, packet: Packet): Malformation | undefined {
  switch (packet.protocol) {
    case PROTOCOL.tcp:
      return parseTcp(frame, packet);
    case PROTOCOL.udp:
      return parseUdp(frame, packet);
    case PROTOCOL.icmp4:
    case PROTOCOL.icmp6:
      if (packet.transport + 8 > packet.end) return 'too short';
      packet.icmpType = frame.readUInt8(packet.transport);
      packet.payload = packet.transport + 8;
      return undefined;
    default:
      return undefined;
  }
}

function parseTcp(frame: Buffer, packet: Packet): Malformation | undefined {
  const { transport, end } = packet;
  if (transport + TCP_BYTES > end) return 'bad TCP header';
  const headerBytes = (frame.readUInt8(transport + 12) >> 4) * 4;
  if (headerBytes < TCP_BYTES || transport + headerBytes > end) return 'bad TCP header';
  packet.sourcePort = frame.readUInt16BE(transport);
  packet.destinationPort = frame.readUInt16BE(transport + 2);
  packet.flags = frame.readUInt8(transport + 13);
  packet.payload = transport + headerBytes;
  return undefined;
}

function parseUdp(frame: Buffer, packet: Packet): Malformation | undefined {
  const { transport, end } = packet;
  if (transport + UDP_BYTES > end) return 'bad UDP header';
  const length = frame.readUInt16BE(transport + 4);
  // Two lengths that differ would allow two interpretations of the packet.
  if (length < UDP_BYTES || transport + length !== end) return 'bad UDP header';
  packet.sourcePort = frame.readUInt16BE(transport);
  packet.destinationPort = frame.readUInt16BE(transport + 2);
  packet.payload = transport + UDP_BYTES;
  return undefined;
}

/** Text for people. */
export function protocolName(protocol: number): string {
  switch (protocol) {
    case PROTOCOL.tcp:
      return 'tcp';
    case PROTOCOL.udp:
      return 'udp';
    case PROTOCOL.icmp4:
    case PROTOCOL.icmp6:
      return 'icmp';
    default:
      return `protocol-${protocol}`;
  }
}
