import { isIP } from 'node:net';
import { contains, parseAddress, parseCidr } from '../std/ip/address.ts';
import { textAddressKind } from '../std/ip/kind.ts';
import { bareHost, portOf } from './address.ts';

/** Values of the three common proxy variables. */
export interface ProxySettings {
  /** URL of the proxy for `http:` targets. */
  readonly http?: string;
  /** URL of the proxy for `https:` targets. */
  readonly https?: string;
  /** Comma-separated hosts, `.suffixes`, `host:port`, CIDR blocks or `*` that are reached directly. */
  readonly no?: string;
}

/** Returns the URL of the proxy for a target, or undefined to connect directly. Loopback targets are never proxied. */
export function proxyFor(url: URL, settings: ProxySettings): string | undefined {
  const proxy = url.protocol === 'https:' ? settings.https : settings.http;
  if (proxy === undefined || proxy === '') return undefined;
  const host = bareHost(url.hostname);
  const local = host === 'localhost' || host.endsWith('.localhost');
  if (local || (isIP(host) !== 0 && textAddressKind(host) === 'loopback')) return undefined;
  const exceptions = (settings.no ?? '').split(',').map((entry) => entry.trim().toLowerCase());
  return exceptions.some((entry) => entry !== '' && covers(entry, host, portOf(url))) ? undefined : proxy;
}

function covers(entry: string, host: string, port: string): boolean {
  if (entry === '*' || entry === host || entry === `${host}:${port}`) return true;
  if (entry.includes('/')) return isIP(host) !== 0 && blockHolds(entry, host);
  const suffix = entry.replace(/^\*?\.?/u, '.');
  return isIP(host) === 0 && host.endsWith(suffix);
}

function blockHolds(block: string, host: string): boolean {
  const [range, address] = [parseCidr(block), parseAddress(host)];
  return range !== undefined && address !== undefined && contains(range, address);
}
