import { bytesOfAddress, isMapped, type Address, type Cidr } from '../../../std/ip/address.ts';
import { parseResponse, RECORD, type Query } from './message.ts';
import type { Resolver } from './resolver.ts';

/** Its only addresses are 192.0.0.170 and .171: where it has one of IPv6, a translator's prefix is around it (RFC 7050). */
const NAME = 'ipv4only.arpa';
const QUERY: Query = {
  id: 0,
  name: NAME,
  question: Buffer.from('\x08ipv4only\x04arpa\0\0\x1c\0\x01', 'latin1'),
  type: RECORD.aaaa,
  bytesMax: 1_232,
  edns: true,
  dnssec: false,
  recursionDesired: true,
  checkingDisabled: false,
};
const PREFIX_BITS = [96, 64, 56, 48, 40, 32] as const;
const PREFIXES_MAX = 8;
const KNOWN = [0xc0_00_00_aa, 0xc0_00_00_ab];

/** Returns the prefixes with which the translators (NAT64) of the host's network wrap IPv4 addresses; empty without any. */
export async function nat64Prefixes(resolver: Resolver, signal: AbortSignal): Promise<Cidr[]> {
  const message = await resolver.resolve(QUERY, signal);
  const answer = message === undefined ? undefined : parseResponse(message, QUERY);
  return (answer?.answers ?? []).slice(0, PREFIXES_MAX).flatMap(({ address }) => {
    if (address === undefined || isMapped(address)) return [];
    return PREFIX_BITS.filter((bits) => KNOWN.includes(embeddedIp4(address, bits))).map((bits) => ({ address, bits }));
  });
}

/** The IPv4 address, as a number, that `address` wraps behind a prefix of so many bits (RFC 6052 §2.2). */
export function embeddedIp4(address: Address, bits: number): number {
  // The ninth byte is never part of it.
  const bytes = [...bytesOfAddress(address)].filter((_, index) => index !== 8 || bits === 96);
  return Buffer.from(bytes).readUInt32BE(bits / 8);
}
