import { lookup as systemLookup, type LookupAddress } from 'node:dns';
import { lookup as resolve } from 'node:dns/promises';
import { isIP, type LookupFunction } from 'node:net';
import { fault, isFault } from '../contract/errors.ts';
import { textAddressKind } from '../std/ip/kind.ts';

export interface AddressRules {
  /** Host of the registry that the user named: it may be a loopback or private address written as such. */
  readonly named: string;
  /** `host` or `host:port` that may resolve to any address. */
  readonly allowed: readonly string[];
  /** True when a reference that names a loopback or private address permits that address. */
  readonly privateByName: boolean;
}

/**
 * Policy of the addresses a registry operation may connect to. Names are judged by the addresses they resolve to when
 * the connection is made, so DNS rebinding between check and use has no effect.
 */
export class AddressGuard {
  readonly #exempt: ReadonlySet<string>;
  readonly #allowed: ReadonlySet<string>;

  constructor({ named, allowed, privateByName }: AddressRules) {
    const host = hostnameOf(named);
    this.#exempt = new Set(privateByName && isPrivateByName(host) ? [host] : []);
    this.#allowed = new Set(allowed.map((entry) => entry.toLowerCase()));
  }

  /** Reports whether the user permits any address for this host, by naming it or in the settings. */
  permits(url: URL): boolean {
    const host = bareHost(url.hostname);
    return this.#exempt.has(host) || this.#allowed.has(host) || this.#allowed.has(`${host}:${portOf(url)}`);
  }

  /**
   * Refuses literal addresses that are off limits; names pass here and are checked by `guardedLookup`. Faults:
   * REGISTRY_ADDRESS_DENIED.
   */
  check(url: URL): void {
    const host = bareHost(url.hostname);
    if (isIP(host) !== 0 && !this.permits(url)) refuse(host, host);
  }

  /**
   * Checks a host that a proxy will resolve, where our sockets never see its address. A name that does not resolve here
   * may still exist at the proxy, so only an address that is off limits is refused.
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
  const kind = textAddressKind(address);
  if (kind === 'public') return;
  const where = host === address ? `it is a ${kind} address` : `it resolves to ${address}, a ${kind} address`;
  throw fault('REGISTRY_ADDRESS_DENIED', { host, reason: where });
}

/**
 * Reports whether a host is `localhost` or a literal loopback or private address. Link-local, metadata and reserved
 * addresses never qualify.
 */
function isPrivateByName(host: string): boolean {
  if (host === 'localhost' || host.endsWith('.localhost')) return true;
  return isIP(host) !== 0 && ['loopback', 'private'].includes(textAddressKind(host));
}

/** Returns the host of a `host:port` as the URL parser sees it, so that `2130706433` is recognized as 127.0.0.1. */
function hostnameOf(registry: string): string {
  return bareHost(new URL(`https://${registry}/`).hostname);
}

/** Returns the host without the brackets of an IPv6 literal and without a trailing dot. */
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

/** Returns the guard's refusal if an error or its cause is one. */
export function deniedBy(error: unknown): Error | undefined {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (isFault(cause, 'REGISTRY_ADDRESS_DENIED')) return cause;
  }
  return undefined;
}
