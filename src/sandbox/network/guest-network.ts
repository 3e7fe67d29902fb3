import { randomBytes } from 'node:crypto';
import { defined } from '../../std/assert.ts';
import { bytesOfAddress, parseAddress } from '../../std/ip/address.ts';
import type { GuestAddress, GuestNetwork, GuestSetup, LayerExtent } from '../channel/index.ts';
import type { BootSpec } from '../driver.ts';
import type { GuestLink } from './link.ts';

const ENTROPY_BYTES = 64;

/** Returns the message that makes a guest the machine of one run. */
export function guestSetup(
  { hostname, diskBytes }: BootSpec,
  layers: readonly LayerExtent[],
  link: GuestLink | undefined,
): GuestSetup {
  const entropy = randomBytes(ENTROPY_BYTES);
  return { hostname, entropy, diskBytes, layers, ...(link === undefined ? {} : { network: guestNetwork(link) }) };
}

/** Returns the link of the filter in the form of the channel. */
function guestNetwork(link: GuestLink): GuestNetwork {
  const { ip4, prefix4, gateway4, ip6, prefix6, gateway6 } = link;
  const six = ip6 === undefined || prefix6 === undefined || gateway6 === undefined;
  return {
    mac: Buffer.from(link.mac.replaceAll(':', ''), 'hex'),
    mtu: link.mtuBytes,
    ip4: address(ip4, prefix4, gateway4),
    ...(six ? {} : { ip6: address(ip6, prefix6, gateway6) }),
    nameservers: [link.dns],
  };
}

function address(own: string, prefix: number, gateway: string): GuestAddress {
  return { address: bytesOf(own), prefix, gateway: bytesOf(gateway) };
}

function bytesOf(text: string): Buffer {
  return bytesOfAddress(defined(parseAddress(text), 'a link has addresses'));
}
