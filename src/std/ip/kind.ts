import { defined } from '../assert.ts';
import { type Address, type Cidr, contains, fromIp4, isMapped, parseAddress, parseCidr } from './address.ts';

/**
 * Kind of an address as seen by the machine that would connect to it. Only `public` addresses lead out of its own
 * network.
 */
export type AddressKind = 'public' | 'loopback' | 'private' | 'link-local' | 'metadata' | 'reserved';

/**
 * Ranges that are never the public internet (IANA special-purpose registries, RFC 6890 and successors), plus the
 * metadata services that clouds run on public-looking addresses. The first match wins. Documentation ranges are public
 * on purpose.
 */
const RANGES: readonly (readonly [AddressKind, Cidr])[] = (
  [
    ['metadata', '169.254.169.254'],
    ['metadata', '168.63.129.16'],
    ['metadata', '100.100.100.200'],
    ['metadata', '192.0.0.192'],
    ['metadata', 'fd00:ec2::254'],
    ['loopback', '127.0.0.0/8'],
    ['loopback', '::1'],
    ['link-local', '169.254.0.0/16'],
    ['link-local', 'fe80::/10'],
    ['private', '10.0.0.0/8'],
    ['private', '172.16.0.0/12'],
    ['private', '192.168.0.0/16'],
    ['private', '100.64.0.0/10'], // carrier-grade NAT
    ['private', '161.26.0.0/16'], // IBM Cloud: services of its private network (cloud.ibm.com/docs/vpc, service endpoints)
    ['private', '166.8.0.0/14'], // IBM Cloud: the same, endpoints of its services
    ['private', 'fc00::/7'],
    ['private', 'fec0::/10'], // site-local, deprecated
    ['private', '64:ff9b:1::/48'], // NAT64 within one network
    ['reserved', '0.0.0.0/8'], // this network
    ['reserved', '192.0.0.0/24'], // protocol assignments
    ['reserved', '192.88.99.0/24'], // 6to4 relays
    ['reserved', '198.18.0.0/15'], // benchmarking
    ['reserved', '224.0.0.0/3'], // multicast, future use, broadcast
    ['reserved', '::/128'],
    ['reserved', '2001::/23'], // protocol assignments (RFC 2928): Teredo, port mapping by anycast, ORCHID
  ] as const
).map(([kind, range]) => [kind, cidr(range)]);

/** IPv6 addresses that wrap an IPv4 address: reaching one is reaching the other. The mapped form needs no row. */
const CARRIERS: readonly { readonly range: Cidr; readonly inner: (address: Address) => Address }[] = [
  // 6to4
  { range: cidr('2002::/16'), inner: ([high = 0, low = 0]) => fromIp4(((high << 16) | (low >>> 16)) >>> 0) },
  // NAT64
  { range: cidr('64:ff9b::/96'), inner: lastWord },
];

/** Further carriers that no router forwards; a network stack may still treat them as the address they wrap. */
const LOCAL_CARRIERS: typeof CARRIERS = [
  { range: cidr('::ffff:0:0:0/96'), inner: lastWord },
  { range: cidr('::/96'), inner: lastWord },
];

/** Everything assigned for global unicast; multicast and unassigned addresses are outside. */
const GLOBAL_IP6 = cidr('2000::/3');

/** Classifies an address. */
export function addressKind(address: Address): AddressKind {
  const found = RANGES.find(([, range]) => contains(range, address));
  if (found !== undefined) return found[0];
  if (isMapped(address)) return 'public';
  const carrier = CARRIERS.find(({ range }) => contains(range, address));
  if (carrier !== undefined) return addressKind(carrier.inner(address));
  const local = LOCAL_CARRIERS.find(({ range }) => contains(range, address));
  const inner = local === undefined ? 'public' : addressKind(local.inner(address));
  if (inner !== 'public') return inner;
  return contains(GLOBAL_IP6, address) ? 'public' : 'reserved';
}

/** Classifies an address in text form, with or without a zone; text that is not an address counts as `reserved`. */
export function textAddressKind(text: string): AddressKind {
  const address = parseAddress(text.replace(/%.*$/u, ''));
  return address === undefined ? 'reserved' : addressKind(address);
}

function lastWord([, , , word = 0]: Address): Address {
  return fromIp4(word);
}

function cidr(text: string): Cidr {
  return defined(parseCidr(text), `${text} is a CIDR block`);
}
