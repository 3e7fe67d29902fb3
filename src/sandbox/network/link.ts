import { randomBytes } from 'node:crypto';
import { networkInterfaces } from 'node:os';
import { defined } from '../../std/assert.ts';
import { contains, parseAddress, parseCidr, type Address } from '../../std/ip/address.ts';
import { readKernelTable } from './kernel-table.ts';

/**
 * Configuration of the guest's interface by the agent: static, no DHCP, no router advertisements. The addresses are the
 * same in every run, because each run has its own link; only the MAC differs.
 */
export interface GuestLink {
  /** Locally administered, fresh in every run: `02:…`. */
  readonly mac: string;
  readonly mtuBytes: number;
  readonly ip4: string;
  readonly prefix4: number;
  readonly gateway4: string;
  /** Absent where the host has no IPv6. */
  readonly ip6?: string;
  readonly prefix6?: number;
  readonly gateway6?: string;
  /** The only nameserver. */
  readonly dns: string;
}

/** Name under which a guest reaches the ports of the host's loopback that the owner opened. */
export const HOST_NAME = 'host.contree.internal';

/** Part of 10/8, too small to matter to users who permit private networks. */
export const IP4 = { guest: '10.118.37.2', gateway: '10.118.37.1', prefix: 30 } as const;
/** A unique local prefix: by RFC 6724 programs then prefer IPv4, which works on more hosts. */
export const IP6 = { guest: 'fd2c:6f6e:7472:6565::2', gateway: 'fd2c:6f6e:7472:6565::1', prefix: 64 } as const;
export const GATEWAY_MAC = '02:63:74:72:00:01';
/** The largest MTU that IP allows, because each packet costs time, mostly in an emulated guest, and this link is virtual. */
export const MTU_BYTES = 65_520;

export function guestLink(ip6: boolean): GuestLink {
  // 0x02: locally administered, unicast.
  const mac = ['02', ...(randomBytes(5).toString('hex').match(/../gu) ?? [])].join(':');
  return {
    mac,
    mtuBytes: MTU_BYTES,
    ip4: IP4.guest,
    prefix4: IP4.prefix,
    gateway4: IP4.gateway,
    ...(ip6 ? { ip6: IP6.guest, prefix6: IP6.prefix, gateway6: IP6.gateway } : {}),
    dns: IP4.gateway,
  };
}

export interface Families {
  readonly ip4: boolean;
  readonly ip6: boolean;
}

const GLOBAL_IP6 = defined(parseCidr('2000::/3'), 'is a CIDR block');

/** Returns the families with which this host reaches the internet: those with a default route, and for IPv6 a global address. */
export function hostFamilies(): Families {
  const addresses = Object.values(networkInterfaces()).flatMap((found) => found ?? []);
  const isGlobal = addresses.some(({ address: text }) => {
    const address = parseAddress(text);
    return address !== undefined && contains(GLOBAL_IP6, address);
  });
  // Destination and mask are zero; the kernel's own "unreachable" stands on lo.
  const route4 = /^(?!lo\t)\S+\t0{8}(?:\t\S+){5}\t0{8}\t/mu;
  const route6 = /^0{32} 00 .*\s(?!lo$)\S+$/mu;
  return {
    ip4: route4.test(readKernelTable('/proc/net/route') ?? ''),
    ip6: isGlobal && route6.test(readKernelTable('/proc/net/ipv6_route') ?? ''),
  };
}

export function macBytes(mac: string): Buffer {
  return Buffer.from(mac.replaceAll(':', ''), 'hex');
}

export function addressOf(text: string): Address {
  return defined(parseAddress(text), `${text} is an address`);
}
