import { networkInterfaces } from 'node:os';
import { defined } from '../../../std/assert.ts';
import { contains, fromIp4, isMapped, MAPPED_BITS, parseCidr, type Address, type Cidr } from './address.ts';

/**
 * What is never the public internet (IANA special-purpose registries, RFC 6890 and successors), plus the metadata
 * services that clouds run on public-looking addresses. Documentation ranges are public on purpose.
 */
const PRIVATE: readonly Cidr[] = [
  '0.0.0.0/8', // this network
  '10.0.0.0/8',
  '100.64.0.0/10', // carrier-grade NAT, and 100.100.100.200 (metadata)
  '127.0.0.0/8',
  '168.63.129.16/32', // metadata and host agent of one cloud
  '169.254.0.0/16', // link-local, and 169.254.169.254 (metadata)
  '172.16.0.0/12',
  '192.0.0.0/24', // protocol assignments, and 192.0.0.192 (metadata)
  '192.88.99.0/24', // 6to4 relays
  '192.168.0.0/16',
  '198.18.0.0/15', // benchmarking: private networks by definition
  '224.0.0.0/4', // multicast
  '240.0.0.0/4', // reserved, and broadcast
  '2001::/32', // Teredo: wraps any IPv4 address
  '2001:10::/28', // ORCHID
  '2001:20::/28', // ORCHIDv2
].map(cidr);

/** All that is assigned for global unicast; loopback, ULA, link-local, multicast, mapped and the rest lie outside. */
const GLOBAL_IP6 = cidr('2000::/3');

const SIX_TO_FOUR = cidr('2002::/16');
const NAT64 = cidr('64:ff9b::/96');

function cidr(text: string): Cidr {
  return defined(parseCidr(text), `${text} is a CIDR block`);
}

/** Whether an address is anything but public: this host, a private network, a metadata service, no unicast at all. */
export function isPrivate(address: Address): boolean {
  if (isMapped(address)) return PRIVATE.some((range) => contains(range, address));
  // Reaching an address that wraps an IPv4 address is reaching that one.
  const [high = 0, middle = 0, , low = 0] = address;
  if (contains(SIX_TO_FOUR, address)) return isPrivate(fromIp4(((high << 16) | (middle >>> 16)) >>> 0));
  if (contains(NAT64, address)) return isPrivate(fromIp4(low));
  return !contains(GLOBAL_IP6, address) || PRIVATE.some((range) => contains(range, address));
}

/** Shorter prefixes are a VPN's way of writing a default route, not a network that the host is in. */
const ON_LINK_BITS_MIN = { IPv4: MAPPED_BITS + 8, IPv6: 32 } as const;

/**
 * The host's own addresses with the networks it sits in. Public ones count too: what shares a link with the host is
 * behind the same firewall, which for IPv6 at home is the only thing that makes it private.
 */
export function hostNetworks(): Cidr[] {
  const interfaces = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  return interfaces.flatMap(({ address, cidr: block, family }) => {
    const own = parseCidr(address.split('%')[0] ?? '');
    const link = block === null ? undefined : parseCidr(block.replace(/%[^/]*/u, ''));
    const wide = link !== undefined && link.bits < ON_LINK_BITS_MIN[family];
    return [own, wide ? undefined : link].filter((range) => range !== undefined);
  });
}
