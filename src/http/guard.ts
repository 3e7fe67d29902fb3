import { fault } from '../contract/errors.ts';

const HOST = /^(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::\d{1,5})?$/iu;
const LOOPBACK = new Set(['localhost', '127.0.0.1', '[::1]']);

/** Reports whether a listen address is reachable from this machine only. */
export function isLoopback(address: string): boolean {
  return address === 'localhost' || address === '::1' || /^127(?:\.\d{1,3}){3}$/u.test(address);
}

/** Names under which a listener may be reached, besides loopback; with `anyHost` under every name. */
export interface OriginRules {
  readonly names: readonly string[];
  readonly anyHost: boolean;
}

/**
 * Protects a TCP listener from other web pages. A page whose name is rebound to 127.0.0.1 still sends its own name in
 * Host, and a page that posts across origins sends its Origin. Both are refused before anything else is checked.
 *
 * `names` are accepted besides loopback: `name` and `name:port` as Host, and `https://name` also as Origin, for a
 * reverse proxy that terminates TLS or changes the Host header. `anyHost` is for a listener that requires tokens and
 * may be reached under any name.
 *
 * Faults: ORIGIN_DENIED.
 */
export function checkOrigin(request: Request, { names, anyHost }: OriginRules): void {
  const host = request.headers.get('host') ?? '';
  const [, name] = HOST.exec(host) ?? [];
  if (name === undefined) throw fault('ORIGIN_DENIED', { origin: host });
  const known =
    LOOPBACK.has(name.toLowerCase()) || names.map(hostOf).some((entry) => same(entry, name) || same(entry, host));
  if (!known && !anyHost) throw fault('ORIGIN_DENIED', { origin: host });
  const origin = request.headers.get('origin');
  if (origin === null) return;
  const url = URL.parse(origin);
  // Any name may belong to a proxy that terminates TLS, about which we know nothing.
  const sameOrigin =
    url !== null && same(url.host, host) && (anyHost || url.protocol === URL.parse(request.url)?.protocol);
  const allowed = url !== null && names.some((entry) => same(entry, url.origin));
  if (!sameOrigin && !allowed) throw fault('ORIGIN_DENIED', { origin });
}

/** Returns the Host of an entry: `name:port` for `https://name:port`. */
export function hostOf(entry: string): string {
  return entry.includes('://') ? (URL.parse(entry)?.host ?? entry) : entry;
}

function same(one: string, other: string): boolean {
  return one.toLowerCase() === other.toLowerCase();
}
