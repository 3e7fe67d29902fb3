import { networkInterfaces } from 'node:os';
import { MAPPED_BITS, parseCidr, type Cidr } from '../../std/ip-address.ts';

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
