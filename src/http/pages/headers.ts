import type { IncomingHttpHeaders, IncomingMessage, OutgoingHttpHeaders } from 'node:http';

/** Name of the cookie of a session; the prefix, which needs TLS, keeps other hosts from setting it. */
export const SESSION_COOKIE = /^(?:__Host-)?contree-page$/u;

/** Headers of one connection (RFC 9110 §7.6.1), and those with which a proxy describes itself. */
const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/** Headers that this server sets or answers itself. */
const OWN = new Set([
  'content-length',
  'cookie',
  'expect',
  'host',
  'forwarded',
  'x-forwarded-host',
  'x-forwarded-proto',
]);

/** Returns headers without a prototype: `__proto__` is a name like any other. */
function empty(): OutgoingHttpHeaders {
  return Object.create(null) as OutgoingHttpHeaders;
}

/** Returns the names that a message's Connection header adds to the hop-by-hop headers. */
function namedIn({ connection = '' }: IncomingHttpHeaders): Set<string> {
  return new Set(
    connection
      .toLowerCase()
      .split(',')
      .map((name) => name.trim()),
  );
}

/** Facts about a request that its headers for the guest depend on. */
export interface ForwardedRequest {
  /** Host of the page. */
  readonly host: string;
  readonly protocol: 'http' | 'https';
  /** True when Authorization is a token of this server, which the guest must never see. */
  readonly ownToken: boolean;
}

/**
 * Returns the headers of a request for the guest: without those of the connection, without our token and cookie, and with the
 * framing of the body as our parser found it, whatever the client's own headers say.
 */
export function requestHeaders(
  request: IncomingMessage,
  { host, protocol, ownToken }: ForwardedRequest,
): OutgoingHttpHeaders {
  const named = namedIn(request.headers);
  const dropped = (name: string): boolean =>
    HOP_BY_HOP.has(name) || OWN.has(name) || named.has(name) || (ownToken && name === 'authorization');
  const headers = Object.assign(empty(), { host, 'x-forwarded-host': host, 'x-forwarded-proto': protocol });
  for (const [name, values = []] of Object.entries(request.headersDistinct)) {
    if (!dropped(name)) headers[name] = values.length === 1 ? values[0] : values;
  }
  const cookie = guestCookies(request.headers.cookie);
  if (cookie !== '') headers['cookie'] = cookie;
  const { 'content-length': length, 'transfer-encoding': coding } = request.headers;
  if (coding !== undefined) headers['transfer-encoding'] = 'chunked';
  else if (length !== undefined) headers['content-length'] = length;
  return headers;
}

/** Returns the values of our cookies in a Cookie header. Another page may have added some, so there may be several. */
export function sessionSecrets(header: string | undefined): string[] {
  return pairs(header).flatMap(([name, value]) => (SESSION_COOKIE.test(name) ? [value] : []));
}

function guestCookies(header: string | undefined): string {
  const others = pairs(header).filter(([name]) => !SESSION_COOKIE.test(name));
  return others.map(([, , text]) => text).join('; ');
}

function pairs(header = ''): [name: string, value: string, text: string][] {
  return header
    .split(';')
    .map((part) => part.trim())
    .filter((part) => part !== '')
    .map((text) => {
      const at = text.indexOf('=');
      return at === -1 ? ['', text, text] : [text.slice(0, at).trim(), text.slice(at + 1).trim(), text];
    });
}

/** Returns the headers of a guest's answer for the client. Its cookies stay with its own host, and ours cannot be set. */
export function answerHeaders(answer: IncomingMessage): OutgoingHttpHeaders {
  const named = namedIn(answer.headers);
  const headers = empty();
  for (const [name, values = []] of Object.entries(answer.headersDistinct)) {
    if (HOP_BY_HOP.has(name) || named.has(name)) continue;
    const kept = name === 'set-cookie' ? values.flatMap(ownCookie) : values;
    if (kept.length > 0) headers[name] = kept.length === 1 ? kept[0] : kept;
  }
  const { 'content-length': length, 'transfer-encoding': coding } = answer.headers;
  if (coding === undefined && length !== undefined) headers['content-length'] = length;
  return headers;
}

function ownCookie(cookie: string): string[] {
  const [pair = '', ...attributes] = cookie.split(';').map((part) => part.trim());
  if (SESSION_COOKIE.test(pair.split('=', 1)[0]?.trim() ?? '')) return [];
  return [[pair, ...attributes.filter((attribute) => !/^domain\s*(?:=|$)/iu.test(attribute))].join('; ')];
}
