import { domainToASCII } from 'node:url';
import { fault } from '../contract/errors.ts';
import { parseCidr, type Cidr } from '../std/ip/address.ts';

/** One entry of a list of destinations; without a port it covers all ports. */
export type Rule =
  | { readonly kind: 'block'; readonly block: Cidr; readonly port?: number }
  | { readonly kind: 'name'; readonly name: string; readonly subdomains: boolean; readonly port?: number };

/** The last label of a domain is never a number; `0x7f.1` and `017700000001` are addresses in disguise. */
const DOMAIN =
  /^(?=.{1,253}$)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*(?!\d+$|0x)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/u;

/** Returns a name in the form for comparisons: lower case, ASCII, without the dot of the root. */
function normalName(name: string): string {
  // Only where it is needed: this function also reads `0x7f.1` as an address.
  const ascii = /[^\0-\x7f]/u.test(name) ? domainToASCII(name) : name;
  return ascii.toLowerCase().replace(/\.$/u, '');
}

/**
 * `example.org`, `*.example.org` (subdomains only), an address, a CIDR block; each may end in `:port`, IPv6 then in
 * brackets. Throws ARGUMENT_INVALID.
 */
export function parseRule(text: string): Rule {
  const whole = parseCidr(text);
  if (whole !== undefined) return { kind: 'block', block: whole };
  const [, bracketed, plain, digits] = /^(?:\[([^\]]*)\]|([^:]*))(?::(\d{1,5}))?$/u.exec(text) ?? [];
  const host = bracketed ?? plain;
  const port = digits === undefined ? undefined : Number(digits);
  if (host === undefined || port === 0 || (port ?? 0) > 65_535) throw unreadable(text);
  const on = port === undefined ? {} : { port };
  const block = parseCidr(host);
  if (block !== undefined) return { kind: 'block', block, ...on };
  const subdomains = host.startsWith('*.');
  const name = normalName(subdomains ? host.slice(2) : host);
  if (bracketed !== undefined || !DOMAIN.test(name)) throw unreadable(text);
  return { kind: 'name', name, subdomains, ...on };
}

function unreadable(text: string): Error {
  const reason = `${JSON.stringify(text)} is not a domain (example.org, *.example.org), address or CIDR block`;
  return fault('ARGUMENT_INVALID', { reason });
}
