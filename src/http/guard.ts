import { fault } from '../contract/errors.ts';

const HOST = /^(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::\d{1,5})?$/iu;
const LOOPBACK = new Set(['localhost', '127.0.0.1', '[::1]']);

/** Reports whether a listen address is reachable from this machine only. */
export function isLoopback(address: string): boolean {
  return address === 'localhost' || address === '::1' || /^127(?:\.\d{1,3}){3}$/u.test(address);
}

/**
 * Keeps web pages of others away from a TCP listener. A page whose name is rebound to 127.0.0.1 still sends its own
 * name in Host, and a page that posts across origins says so in Origin; both are refused, before anything else is
 * looked at.
 *
 * `names` are accepted besides loopback: `name` and `name:port` as Host, `https://name` as Origin too, for a proxy in
 * front that speaks TLS or sends another Host than it was asked for. `anyHost` is for a listener that all who know a
 * token may reach under any name.
 *
 * Faults: ORIGIN_DENIED.
 */
export function checkOrigin(request: Request, names: readonly string[], anyHost: boolean): void {
  const host = request.headers.get('host') ?? '';
  const [, name] = HOST.exec(host) ?? [];
  if (name === undefined) throw fault('ORIGIN_DENIED', { origin: host });
  const known =
    LOOPBACK.has(name.toLowerCase()) || names.map(hostOf).some((entry) => same(entry, name) || same(entry, host));
  if (!known && !anyHost) throw fault('ORIGIN_DENIED', { origin: host });
  const origin = request.headers.get('origin');
  if (origin === null) return;
  const url = URL.parse(origin);
  // Under any name there may be a proxy that speaks TLS, which we know nothing of.
  const sameOrigin =
    url !== null && same(url.host, host) && (anyHost || url.protocol === URL.parse(request.url)?.protocol);
  const allowed = url !== null && names.some((entry) => same(entry, url.origin));
  if (!sameOrigin && !allowed) throw fault('ORIGIN_DENIED', { origin });
}

/** Returns the Host of an entry: `https://name:port` stands for `name:port`. */
function hostOf(entry: string): string {
  return entry.includes('://') ? (URL.parse(entry)?.host ?? entry) : entry;
}

function same(one: string, other: string): boolean {
  return one.toLowerCase() === other.toLowerCase();
}
