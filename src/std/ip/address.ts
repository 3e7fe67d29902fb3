import { isIPv4, isIPv6 } from 'node:net';
import { assert } from '../assert.ts';

/**
 * An IP address of either family as four 32-bit words; IPv4 in its mapped form `::ffff:a.b.c.d`, so that ranges, rules
 * and keys have one code path. A mapped address never comes off the wire as IPv6: the parser of packets refuses it.
 */
export type Address = Uint32Array;

/** Addresses that share their first `bits` bits (0–128, counted in the mapped form for IPv4). */
export interface Cidr {
  readonly address: Address;
  readonly bits: number;
}

const MAPPED_PREFIX = 0xffff;
/** Bits of `::ffff:0:0` in front of an IPv4 address. */
export const MAPPED_BITS = 96;

export function isMapped(address: Address): boolean {
  return address[0] === 0 && address[1] === 0 && address[2] === MAPPED_PREFIX;
}

export function fromIp4(value: number): Address {
  return Uint32Array.of(0, 0, MAPPED_PREFIX, value);
}

/** Reads the 4 or 16 bytes at `offset` into `into`. The caller has checked that they are there. */
export function readAddress(bytes: Buffer, offset: number, family: 4 | 6, into: Address): void {
  if (family === 4) {
    into[0] = 0;
    into[1] = 0;
    into[2] = MAPPED_PREFIX;
    into[3] = bytes.readUInt32BE(offset);
    return;
  }
  for (let word = 0; word < 4; word += 1) into[word] = bytes.readUInt32BE(offset + 4 * word);
}

/** Returns the 4 bytes of a mapped address, or all 16 of another. */
export function bytesOfAddress(address: Address): Buffer {
  const bytes = Buffer.allocUnsafe(16);
  for (let word = 0; word < 4; word += 1) bytes.writeUInt32BE(address[word] ?? 0, 4 * word);
  return isMapped(address) ? bytes.subarray(12) : bytes;
}

/**
 * Parses dotted decimal or IPv6 text; returns undefined for anything else, including octal and hexadecimal forms of
 * IPv4.
 */
export function parseAddress(text: string): Address | undefined {
  if (isIPv4(text)) {
    const [a = 0, b = 0, c = 0, d = 0] = text.split('.').map(Number);
    return fromIp4(((a << 24) | (b << 16) | (c << 8) | d) >>> 0);
  }
  // A zone (`%eth0`) has a meaning on one host only, so it is not allowed in a rule.
  if (!isIPv6(text) || text.includes('%')) return undefined;
  return parseIp6(new URL(`http://[${text}]`).hostname.slice(1, -1));
}

/** Parses normalized text as `URL` prints it: hexadecimal groups, at most one `::`. */
function parseIp6(text: string): Address {
  const [head = '', tail] = text.split('::');
  const groups = (part: string): number[] => (part === '' ? [] : part.split(':').map((group) => parseInt(group, 16)));
  const before = groups(head);
  const after = tail === undefined ? [] : groups(tail);
  const all = [...before, ...Array<number>(8 - before.length - after.length).fill(0), ...after];
  assert(all.length === 8, 'an IPv6 address has eight groups');
  return Uint32Array.from({ length: 4 }, (_, word) => (((all[2 * word] ?? 0) << 16) | (all[2 * word + 1] ?? 0)) >>> 0);
}

export function formatAddress(address: Address): string {
  const bytes = bytesOfAddress(address);
  if (bytes.length === 4) return bytes.join('.');
  const groups = Array.from({ length: 8 }, (_, group) => bytes.readUInt16BE(2 * group).toString(16));
  return new URL(`http://[${groups.join(':')}]`).hostname.slice(1, -1);
}

/**
 * Parses `10.0.0.0/8`, `fd00::/8`, or one address; returns undefined for anything else. Bits after the prefix are
 * ignored.
 */
export function parseCidr(text: string): Cidr | undefined {
  const [host = '', length, ...rest] = text.split('/');
  const address = parseAddress(host);
  if (address === undefined || rest.length > 0) return undefined;
  if (length === undefined) return { address, bits: 128 };
  const most = isIPv4(host) ? 32 : 128;
  if (!/^\d{1,3}$/u.test(length) || Number(length) > most) return undefined;
  return { address, bits: Number(length) + 128 - most };
}

export function contains(cidr: Cidr, address: Address): boolean {
  // `::/0` means every IPv6 address, not the mapped forms of IPv4.
  if (isMapped(address) !== isMapped(cidr.address)) return false;
  let bits = cidr.bits;
  for (let word = 0; word < 4 && bits > 0; word += 1, bits -= 32) {
    const different = ((cidr.address[word] ?? 0) ^ (address[word] ?? 0)) >>> 0;
    if (bits >= 32 ? different !== 0 : different >>> (32 - bits) !== 0) return false;
  }
  return true;
}

/** Returns the map key of an address: equal addresses have equal keys. */
export function keyOf(address: Address): string {
  return `${address[0]}.${address[1]}.${address[2]}.${address[3]}`;
}
