import { lookup as systemLookup, type LookupAddress } from 'node:dns';
import { lookup as resolve } from 'node:dns/promises';
import { BlockList, isIP, type LookupFunction } from 'node:net';
import { fault, isFault } from '../contract/errors.ts';

/** What an address is to this machine. Only `public` ones may be reached on the word of somebody else's registry. */
export type AddressKind = 'public' | 'loopback' | 'private' | 'link-local' | 'metadata' | 'reserved';

/** First match wins. Ranges of the IANA special-purpose registries; documentation ranges are not among them on purpose. */
const RANGES: readonly (readonly [AddressKind, string])[] = [
  ['metadata', '169.254.169.254/32'],
  ['metadata', '168.63.129.16/32'],
  ['metadata', '100.100.100.200/32'],
  ['metadata', 'fd00:ec2::254/128'],
  ['loopback', '127.0.0.0/8'],
  ['loopback', '::1/128'],
  ['link-local', '169.254.0.0/16'],
  ['link-local', 'fe80::/10'],
  ['private', '10.0.0.0/8'],
  ['private', '172.16.0.0/12'],
  ['private', '192.168.0.0/16'],
  ['private', '100.64.0.0/10'],
  ['private', 'fc00::/7'],
  ['private', 'fec0::/10'],
  ['private', '64:ff9b:1::/48'],
  ['reserved', '0.0.0.0/8'],
  ['reserved', '192.0.0.0/24'],
  ['reserved', '198.18.0.0/15'],
  ['reserved', '224.0.0.0/3'],
  ['reserved', '::/128'],
  ['reserved', '2001::/32'],
  ['reserved', 'ff00::/8'],
];

/** Prefixes of IPv6 addresses that carry an IPv4 address, and the group at which that address starts. */
const EMBEDDING: readonly (readonly [string, number])[] = [
  ['::ffff:0:0/96', 6],
  ['::ffff:0:0:0/96', 6],
  ['::/96', 6],
  ['64:ff9b::/96', 6],
  ['2002::/16', 1],
];

const blocks = RANGES.map(([kind, range]) => ({ kind, list: blockOf(range) }));
const embeddings = EMBEDDING.map(([range, group]) => ({ group, list: blockOf(range) }));

function blockOf(range: string): BlockList {
  const [address = '', prefix] = range.split('/');
  const list = new BlockList();
  list.addSubnet(address, Number(prefix), address.includes(':') ? 'ipv6' : 'ipv4');
  return list;
}

/** Classifies an IP address in text form; what is no address at all counts as `reserved`. */
export function addressKind(address: string): AddressKind {
  const bare = address.replace(/%.*$/u, '');
  const version = isIP(bare);
  if (version === 0) return 'reserved';
  const family = version === 4 ? 'ipv4' : 'ipv6';
  const found = blocks.find(({ list }) => list.check(bare, family));
  if (found !== undefined) return found.kind;
  if (family === 'ipv4') return 'public';
  const carrier = embeddings.find(({ list }) => list.check(bare, 'ipv6'));
  return carrier === undefined ? 'public' : addressKind(embeddedIpv4(bare, carrier.group));
}

/** The IPv4 address whose 32 bits start at the given 16-bit group. */
function embeddedIpv4(address: string, group: number): string {
  // The URL parser writes every IPv6 address in one canonical form without a dotted tail.
  const canonical = new URL(`http://[${address}]/`).hostname.slice(1, -1);
  const [head = '', tail] = canonical.split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  const groups = [...left, ...Array.from({ length: 8 - left.length - right.length }, () => '0'), ...right];
  return [group, group + 1]
    .map((index) => Number.parseInt(groups[index] ?? '0', 16))
    .flatMap((value) => [value >> 8, value & 0xff])
    .join('.');
}

export interface AddressRules {
  /** Host of the registry that the user named: it may be a loopback or private address written as such. */
  readonly named: string;
  /** `host` or `host:port` that may resolve to any address. */
  readonly allowed: readonly string[];
  /** Whether naming a loopback or private address in a reference is permission enough. */
  readonly privateByName: boolean;
}

/**
 * Decides which addresses a registry operation may connect to. Names are judged by the addresses they resolve to, at
 * the moment of connecting, so a name that changes its answer between check and use gains nothing.
 */
export class AddressGuard {
  readonly #exempt: ReadonlySet<string>;
  readonly #allowed: ReadonlySet<string>;

  constructor({ named, allowed, privateByName }: AddressRules) {
    const host = hostnameOf(named);
    this.#exempt = new Set(privateByName && isPrivateByName(host) ? [host] : []);
    this.#allowed = new Set(allowed.map((entry) => entry.toLowerCase()));
  }

  /** Whether the user has vouched for this host, by naming it or in the settings; then any address will do. */
  permits(url: URL): boolean {
    const host = bareHost(url.hostname);
    return this.#exempt.has(host) || this.#allowed.has(host) || this.#allowed.has(`${host}:${portOf(url)}`);
  }

  /** Refuses literal addresses; names pass here and meet `guardedLookup`. Faults: REGISTRY_ADDRESS_DENIED. */
  check(url: URL): void {
    const host = bareHost(url.hostname);
    if (isIP(host) !== 0 && !this.permits(url)) refuse(host, host);
  }

  /**
   * The same for a host that a proxy will resolve, where no socket of ours meets its address. A name that does not
   * resolve here may still exist at the proxy, so only an answer that is off limits counts.
   */
  async checkBehindProxy(url: URL): Promise<void> {
    this.check(url);
    if (this.permits(url)) return;
    const answers = await resolve(url.hostname, { all: true }).catch(() => []);
    for (const { address } of answers) refuse(url.hostname, address);
  }
}

/** Resolver for sockets: fails with REGISTRY_ADDRESS_DENIED when any of a name's addresses is off limits. */
export const guardedLookup: LookupFunction = (hostname, options, callback) => {
  systemLookup(hostname, { ...options, all: true }, (error, addresses) => {
    if (error !== null) return callback(error, []);
    try {
      for (const { address } of addresses) refuse(hostname, address);
    } catch (denied) {
      return callback(denied as NodeJS.ErrnoException, []);
    }
    return answer(addresses, options.all === true, callback);
  });
};

function answer(addresses: LookupAddress[], all: boolean, callback: Parameters<LookupFunction>[2]): void {
  const [first] = addresses;
  if (all || first === undefined) return callback(null, addresses);
  return callback(null, first.address, first.family);
}

function refuse(host: string, address: string): void {
  const kind = addressKind(address);
  if (kind === 'public') return;
  const where = host === address ? `it is a ${kind} address` : `it resolves to ${address}, a ${kind} address`;
  throw fault('REGISTRY_ADDRESS_DENIED', { host, reason: where });
}

/** `localhost`, or a loopback or private address written as one. Link-local, metadata and reserved never qualify. */
function isPrivateByName(host: string): boolean {
  if (host === 'localhost' || host.endsWith('.localhost')) return true;
  return isIP(host) !== 0 && ['loopback', 'private'].includes(addressKind(host));
}

/** Host of a `host:port` as the URL parser sees it, so that `2130706433` is recognised as 127.0.0.1. */
function hostnameOf(registry: string): string {
  return bareHost(new URL(`https://${registry}/`).hostname);
}

/** Host without the brackets of an IPv6 literal and without a trailing dot. */
export function bareHost(hostname: string): string {
  return hostname
    .replace(/^\[|\]$/gu, '')
    .replace(/\.$/u, '')
    .toLowerCase();
}

export function portOf(url: URL): string {
  if (url.port !== '') return url.port;
  return url.protocol === 'https:' ? '443' : '80';
}

/** Whether an error, or what caused it, is the guard's refusal. */
export function deniedBy(error: unknown): Error | undefined {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (isFault(cause, 'REGISTRY_ADDRESS_DENIED')) return cause;
  }
  return undefined;
}
