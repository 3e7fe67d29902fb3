import { networkInterfaces } from 'node:os';
import { defined } from '../../std/assert.ts';
import { contains, fromIp4, keyOf, MAPPED_BITS, parseCidr, type Address, type Cidr } from '../../std/ip/address.ts';
import { addressKind } from '../../std/ip/kind.ts';
import { readKernelTable } from './kernel-table.ts';

/** Shortest prefix of a network. Shorter ones are a VPN's form of a default route (`0.0.0.0/1`, `2000::/3`). */
const NETWORK_BITS_MIN = 8;
/** Limit of networks, because each new packet is compared with all of them. */
const NETWORKS_MAX = 1_000;
/** All networks: the result for a host whose tables exceed the bounds, so that nothing can be reached. */
const EVERYTHING: readonly Cidr[] = ['0.0.0.0/0', '::/0'].map((text) => defined(parseCidr(text), 'is a CIDR block'));

/** The kernel's routing tables as text; undefined for one that is too large. */
export interface KernelTables {
  /** `/proc/net/route`: the main table of IPv4 with gateways. */
  readonly route: string | undefined;
  /** `/proc/net/fib_trie`: every table of IPv4 with the types of routes, without gateways. */
  readonly fibTrie: string | undefined;
  /** `/proc/net/ipv6_route`: every table of IPv6. */
  readonly ipv6Route: string | undefined;
  /** `/proc/net/if_inet6`: the addresses of IPv6, also those of interfaces without carrier, which have no route. */
  readonly ifInet6: string | undefined;
}

function readTables(): KernelTables {
  return {
    route: readKernelTable('/proc/net/route'),
    fibTrie: readKernelTable('/proc/net/fib_trie'),
    ipv6Route: readKernelTable('/proc/net/ipv6_route'),
    ifInet6: readKernelTable('/proc/net/if_inet6'),
  };
}

let last: { readonly read: readonly (string | undefined)[]; readonly networks: readonly Cidr[] } | undefined;

/**
 * Networks that are private although their addresses are public: each address that the host's kernel treats as its own, and each
 * network whose route is not the default one (the links of the host, networks behind a VPN). Neighbours on a public link
 * count too, because they are behind the same firewall as the host.
 *
 * Reads the kernel's tables, and evaluates them again only when they have changed.
 */
export function hostNetworks(): readonly Cidr[] {
  const tables = readTables();
  const links = linkNetworks();
  const read = [...Object.values(tables), links.join(' ')];
  if (last !== undefined && read.every((text, index) => text === last?.read[index])) return last.networks;
  const parsed = links.map((text) => parseCidr(text)).filter((network) => network !== undefined);
  const networks = privateNetworks(tables, parsed);
  last = { read, networks };
  return networks;
}

/** Returns the networks of the interfaces that are up, for kernels that hide their tables. */
function linkNetworks(): string[] {
  const interfaces = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  return interfaces.flatMap(({ address, cidr }) =>
    [address, cidr ?? address].map((text) => text.replace(/%[^/]*/u, '')),
  );
}

/** Returns the networks of these tables and of `links` that only the host can reach, except those that are private anyway. */
export function privateNetworks(tables: KernelTables, links: readonly Cidr[] = []): readonly Cidr[] {
  const { route, fibTrie, ipv6Route, ifInet6 } = tables;
  if (route === undefined || fibTrie === undefined || ipv6Route === undefined || ifInet6 === undefined) {
    return EVERYTHING;
  }
  const all = [...links, ...routes4(fibTrie, likeDefault4(route)), ...routes6(ipv6Route), ...addresses6(ifInet6)];
  const wanted = all.filter((network) => isNetwork(network) && addressKind(network.address) === 'public');
  const outermost: Cidr[] = [];
  for (const network of wanted.toSorted((a, b) => a.bits - b.bits)) {
    if (outermost.some((other) => contains(other, network.address))) continue;
    outermost.push(network);
    if (outermost.length > NETWORKS_MAX) return EVERYTHING;
  }
  return outermost;
}

function isNetwork({ address, bits }: Cidr): boolean {
  const mapped = address[0] === 0 && address[1] === 0 && address[2] === 0xffff;
  return bits >= (mapped ? MAPPED_BITS : 0) + NETWORK_BITS_MIN;
}

function keyOfNetwork({ address, bits }: Cidr): string {
  return `${keyOf(address)}/${bits}`;
}

/** Returns the networks of the main table with the gateway of the default route, such as the route to a VPN's server. */
function likeDefault4(table: string): ReadonlySet<string> {
  const rows = table
    .split('\n')
    .slice(1)
    .map((line) => {
      const [device = '', destination = '', gateway = '', , , , , mask = ''] = line.trim().split(/\s+/u);
      const network = { address: fromIp4(hostOrder(destination)), bits: MAPPED_BITS + onesOf(hostOrder(mask)) };
      return { network, hop: gateway === '00000000' ? undefined : `${device} ${gateway}` };
    });
  return likeDefault(rows);
}

/** Reads the hexadecimal form in which a little-endian machine prints an address in network order. */
function hostOrder(hex: string): number {
  return /^[0-9A-F]{8}$/u.test(hex) ? Buffer.from(hex, 'hex').readUInt32LE(0) : 0;
}

function onesOf(mask: number): number {
  return Math.clz32(~mask);
}

interface Row {
  readonly network: Cidr;
  /** Destination of a route that leads through a gateway. */
  readonly hop: string | undefined;
}

function likeDefault(rows: readonly Row[]): ReadonlySet<string> {
  const defaults = new Set(rows.filter(({ network }) => !isNetwork(network)).map(({ hop }) => hop));
  const same = rows.filter(({ hop }) => hop !== undefined && defaults.has(hop));
  return new Set(same.map(({ network }) => keyOfNetwork(network)));
}

/** Returns the networks in `fib_trie` except those in `except`; of numbered tables and of the host's own addresses, all. */
function routes4(trie: string, except: ReadonlySet<string>): Cidr[] {
  const found: Cidr[] = [];
  let isMain = false;
  let prefix = '';
  for (const line of trie.split('\n')) {
    const [, heading] = /^(\S.*):$/u.exec(line) ?? [];
    if (heading !== undefined) isMain = heading === 'Main' || heading === 'Local';
    const [, leaf] = /\|-- (\S+)$/u.exec(line) ?? [];
    if (leaf !== undefined) prefix = leaf;
    const [, bits, type] = /^\s+\/(\d+) \S+ (\S+)/u.exec(line) ?? [];
    const network = bits === undefined ? undefined : parseCidr(`${prefix}/${bits}`);
    if (network === undefined) continue;
    const isDefault = isMain && type === 'UNICAST' && except.has(keyOfNetwork(network));
    if (!isDefault) found.push(network);
  }
  return found;
}

/** Returns the IPv6 networks whose gateway is not that of the default route. */
function routes6(table: string): Cidr[] {
  const rows = table.split('\n').flatMap((line): Row[] => {
    const [destination = '', bits = '', , , gateway = '', ...rest] = line.trim().split(/\s+/u);
    const address = address6(destination);
    if (address === undefined) return [];
    const hop = /^0*$/u.test(gateway) ? undefined : `${rest.at(-1)} ${gateway}`;
    return [{ network: { address, bits: parseInt(bits, 16) }, hop }];
  });
  const except = likeDefault(rows);
  return rows.map(({ network }) => network).filter((network) => !except.has(keyOfNetwork(network)));
}

function addresses6(table: string): Cidr[] {
  return table.split('\n').flatMap((line) => {
    const address = address6(line.split(' ', 1)[0] ?? '');
    return address === undefined ? [] : [{ address, bits: 128 }];
  });
}

/** Reads an address of the kernel's IPv6 tables: 32 digits. */
function address6(hex: string): Address | undefined {
  if (!/^[0-9a-f]{32}$/u.test(hex)) return undefined;
  return Uint32Array.from(hex.match(/.{8}/gu) ?? [], (word) => parseInt(word, 16));
}
