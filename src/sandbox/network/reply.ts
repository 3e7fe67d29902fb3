import { bytesOfAddress, isMapped, type Address } from '../../std/ip/address.ts';
import { LENGTH_BYTES } from './frames.ts';
import {
  ETHERNET_BYTES,
  ETHERTYPE,
  IP4_BYTES,
  IP6_BYTES,
  PROTOCOL,
  TCP_BYTES,
  TCP_FLAG,
  UDP_BYTES,
  type Packet,
} from './packet.ts';

/** Frames that the filter itself sends to the guest, each with its length in front, as the stream needs them. */

/** The two ends of the guest's link; every address beyond it is behind the gateway's MAC. */
export interface LinkEnds {
  readonly guestMac: Buffer;
  readonly gatewayMac: Buffer;
}

/** Two addresses and ports of one family, in the direction of the reply. */
export interface Endpoints {
  readonly source: Address;
  readonly destination: Address;
  readonly sourcePort: number;
  readonly destinationPort: number;
}

/** The endpoints of an answer to `packet`. Copies: the packet object is reused. */
export function answering(packet: Packet): Endpoints {
  return {
    source: packet.destination.slice(),
    destination: packet.source.slice(),
    sourcePort: packet.destinationPort,
    destinationPort: packet.sourcePort,
  };
}

function frame(ends: LinkEnds, ethertype: number, payloadBytes: number): Buffer {
  const bytes = Buffer.allocUnsafe(PAYLOAD + payloadBytes);
  bytes.writeUInt32BE(ETHERNET_BYTES + payloadBytes, 0);
  ends.guestMac.copy(bytes, LENGTH_BYTES);
  ends.gatewayMac.copy(bytes, LENGTH_BYTES + 6);
  bytes.writeUInt16BE(ethertype, LENGTH_BYTES + 12);
  return bytes;
}

const PAYLOAD = LENGTH_BYTES + ETHERNET_BYTES;

/** Answers an ARP request for `address`; undefined for any other ARP frame. */
export function arpReply(ends: LinkEnds, request: Buffer, address: Buffer): Buffer | undefined {
  if (request.length < ETHERNET_BYTES + 28) return undefined;
  const arp = request.subarray(ETHERNET_BYTES, ETHERNET_BYTES + 28);
  const isRequest = arp.readUInt32BE(0) === 0x0001_0800 && arp.readUInt32BE(4) === 0x0604_0001;
  if (!isRequest || !arp.subarray(24, 28).equals(address)) return undefined;
  const reply = frame(ends, ETHERTYPE.arp, 28);
  arp.copy(reply, PAYLOAD, 0, 7);
  reply.writeUInt8(2, PAYLOAD + 7);
  ends.gatewayMac.copy(reply, PAYLOAD + 8);
  address.copy(reply, PAYLOAD + 14);
  arp.copy(reply, PAYLOAD + 18, 8, 18);
  return reply;
}

/** Answers a neighbour solicitation for `address`; undefined for any other packet. */
export function neighbourAdvertisement(
  ends: LinkEnds,
  solicitation: Buffer,
  packet: Packet,
  address: Address,
): Buffer | undefined {
  const { transport } = packet;
  if (packet.icmpType !== 135 || transport + 24 > packet.end) return undefined;
  const target = bytesOfAddress(address);
  // Without a source the guest only asks whether the address is in use, which needs no answer.
  const unspecified = packet.source.every((word) => word === 0);
  if (unspecified || !solicitation.subarray(transport + 8, transport + 24).equals(target)) return undefined;
  const body = Buffer.alloc(32);
  body.writeUInt8(136, 0);
  body.writeUInt32BE(0xe000_0000, 4); // router, solicited, override
  target.copy(body, 8);
  body.writeUInt16BE(0x0201, 24); // target link-layer address, in units of 8 bytes
  ends.gatewayMac.copy(body, 26);
  const route = { source: address, destination: packet.source };
  return ipFrame(ends, route, PROTOCOL.icmp6, [body]);
}

/** Returns a TCP segment with or without payload; `options` is a multiple of 4 bytes. */
export interface Segment {
  readonly sequence: number;
  readonly acknowledgement: number;
  readonly flags: number;
  readonly windowBytes: number;
  readonly options?: Buffer;
  readonly payload?: Buffer;
}

const NOTHING = Buffer.alloc(0);

export function tcpFrame(ends: LinkEnds, between: Endpoints, segment: Segment): Buffer {
  const { options = NOTHING, payload = NOTHING } = segment;
  const header = Buffer.allocUnsafe(TCP_BYTES);
  header.writeUInt16BE(between.sourcePort, 0);
  header.writeUInt16BE(between.destinationPort, 2);
  header.writeUInt32BE(segment.sequence, 4);
  header.writeUInt32BE(segment.acknowledgement, 8);
  header.writeUInt8(((TCP_BYTES + options.length) / 4) << 4, 12);
  header.writeUInt8(segment.flags, 13);
  header.writeUInt16BE(segment.windowBytes, 14);
  // Checksum, and no urgent data.
  header.writeUInt32BE(0, 16);
  return ipFrame(ends, between, PROTOCOL.tcp, [header, options, payload]);
}

/** Refuses a segment as a closed port does (RFC 9293 §3.10.7.1); undefined when there is nothing to answer. */
export function tcpReset(ends: LinkEnds, offending: Buffer, packet: Packet): Buffer | undefined {
  if ((packet.flags & TCP_FLAG.rst) !== 0) return undefined;
  const sequence = offending.readUInt32BE(packet.transport + 4);
  const acknowledgement = offending.readUInt32BE(packet.transport + 8);
  const counted = packet.end - packet.payload + ((packet.flags & TCP_FLAG.syn) !== 0 ? 1 : 0);
  const acknowledges = (packet.flags & TCP_FLAG.ack) !== 0;
  return tcpFrame(ends, answering(packet), {
    sequence: acknowledges ? acknowledgement : 0,
    acknowledgement: acknowledges ? 0 : (sequence + counted) >>> 0,
    flags: acknowledges ? TCP_FLAG.rst : TCP_FLAG.rst | TCP_FLAG.ack,
    windowBytes: 0,
  });
}

export function udpFrame(ends: LinkEnds, between: Endpoints, payload: Buffer): Buffer {
  const header = Buffer.allocUnsafe(UDP_BYTES);
  header.writeUInt16BE(between.sourcePort, 0);
  header.writeUInt16BE(between.destinationPort, 2);
  header.writeUInt16BE(UDP_BYTES + payload.length, 4);
  header.writeUInt16BE(0, 6);
  return ipFrame(ends, between, PROTOCOL.udp, [header, payload]);
}

/** A packet that is not delivered: its frame or the frame's headers, and the offsets of the headers. */
export interface Offending {
  readonly frame: Buffer;
  readonly packet: Pick<Packet, 'family' | 'protocol' | 'source' | 'transport' | 'end'>;
}

/** Codes of "destination unreachable" in ICMP (RFC 792, RFC 1812 §5.2.7.1) and ICMPv6 (RFC 4443 §3.1). */
const UNREACHABLE = {
  network: { code4: 0, code6: 0 },
  host: { code4: 1, code6: 3 },
  port: { code4: 3, code6: 4 },
  prohibited: { code4: 13, code6: 1 },
} as const;

export type Unreachable = keyof typeof UNREACHABLE;

/** "Destination unreachable" about `offending`, sent from `gateway`. */
export function destinationUnreachable(
  ends: LinkEnds,
  offending: Offending,
  gateway: Address,
  why: Unreachable,
): Buffer {
  const { frame: offendingFrame, packet } = offending;
  const version4 = packet.family === 4;
  // RFC 792 wants the IP header and 8 bytes; RFC 4443 as much as fits, of which the first part is enough.
  const quoteEnd = Math.min(packet.end, packet.transport + (version4 ? 8 : 64));
  const quote = offendingFrame.subarray(ETHERNET_BYTES, quoteEnd);
  const header = Buffer.alloc(8);
  const { code4, code6 } = UNREACHABLE[why];
  header.writeUInt8(version4 ? 3 : 1, 0);
  header.writeUInt8(version4 ? code4 : code6, 1);
  const route = { source: gateway, destination: packet.source };
  return ipFrame(ends, route, version4 ? PROTOCOL.icmp4 : PROTOCOL.icmp6, [header, quote]);
}

/** Offset of the checksum in a transport header, and whether it covers the addresses. */
const CHECKSUMS: Readonly<Record<number, { readonly at: number; readonly pseudo: boolean }>> = {
  [PROTOCOL.tcp]: { at: 16, pseudo: true },
  [PROTOCOL.udp]: { at: 6, pseudo: true },
  [PROTOCOL.icmp4]: { at: 2, pseudo: false },
  [PROTOCOL.icmp6]: { at: 2, pseudo: true },
};

/** A frame with `parts` behind an IP header; the first part is the transport header, its checksum zero. */
function ipFrame(
  ends: LinkEnds,
  route: { readonly source: Address; readonly destination: Address },
  protocol: number,
  parts: readonly Buffer[],
): Buffer {
  const version4 = isMapped(route.destination);
  const headerBytes = version4 ? IP4_BYTES : IP6_BYTES;
  let bodyBytes = 0;
  for (const part of parts) bodyBytes += part.length;
  const bytes = frame(ends, version4 ? ETHERTYPE.ip4 : ETHERTYPE.ip6, headerBytes + bodyBytes);
  const header = bytes.subarray(PAYLOAD, PAYLOAD + headerBytes);
  const source = bytesOfAddress(route.source);
  const destination = bytesOfAddress(route.destination);
  if (version4) writeIp4Header(header, protocol, bodyBytes);
  else writeIp6Header(header, protocol, bodyBytes);
  source.copy(header, version4 ? 12 : 8);
  destination.copy(header, version4 ? 16 : 24);
  if (version4) header.writeUInt16BE(complement(sum(header)), 10);
  const body = bytes.subarray(PAYLOAD + headerBytes);
  let at = 0;
  for (const part of parts) at += part.copy(body, at);
  const checksum = CHECKSUMS[protocol];
  if (checksum === undefined) return bytes;
  const pseudo = checksum.pseudo ? sum(source) + sum(destination) + protocol + bodyBytes : 0;
  const value = complement(pseudo + sum(body));
  // In UDP zero means "no checksum", so a sum of zero is sent as its other form.
  body.writeUInt16BE(value === 0 && protocol === PROTOCOL.udp ? 0xffff : value, checksum.at);
  return bytes;
}

function writeIp4Header(header: Buffer, protocol: number, bodyBytes: number): void {
  header.writeUInt16BE(0x4500, 0);
  header.writeUInt16BE(IP4_BYTES + bodyBytes, 2);
  header.writeUInt32BE(0x0000_4000, 4); // do not fragment
  header.writeUInt8(64, 8);
  header.writeUInt8(protocol, 9);
  header.writeUInt16BE(0, 10);
}

function writeIp6Header(header: Buffer, protocol: number, bodyBytes: number): void {
  header.writeUInt32BE(0x6000_0000, 0);
  header.writeUInt16BE(bodyBytes, 4);
  header.writeUInt8(protocol, 6);
  header.writeUInt8(255, 7); // neighbour discovery accepts nothing that a router may have passed on
}

/**
 * The sum of 16-bit words, the last byte padded with zero, up to multiples of 65,535. Words of 32 bits are added, which
 * gives the same result twice as fast; a double holds the sum of any packet.
 */
function sum(bytes: Buffer): number {
  let total = 0;
  let at = 0;
  for (const end = bytes.length - 3; at < end; at += 4) {
    total +=
      (((bytes[at] ?? 0) << 24) | ((bytes[at + 1] ?? 0) << 16) | ((bytes[at + 2] ?? 0) << 8) | (bytes[at + 3] ?? 0)) >>>
      0;
  }
  let rest = 0;
  for (let shift = 24; at < bytes.length; at += 1, shift -= 8) rest |= (bytes[at] ?? 0) << shift;
  return total + (rest >>> 0);
}

function complement(total: number): number {
  let folded = total;
  while (folded > 0xffff) folded = (folded % 0x1_0000) + Math.floor(folded / 0x1_0000);
  return ~folded & 0xffff;
}
