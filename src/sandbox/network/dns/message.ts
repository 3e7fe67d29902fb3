import { fromIp4, readAddress, type Address } from '../../../std/ip/address.ts';

/** DNS messages (RFC 1035, EDNS of RFC 6891) from both hostile sides: the guest's questions, the network's answers. */

export const DNS_HEADER_BYTES = 12;
export const DNS_MESSAGE_BYTES_MAX = 65_535;
export const RECORD = { a: 1, cname: 5, ptr: 12, aaaa: 28, opt: 41 } as const;
export const RCODE = { ok: 0, malformed: 1, failed: 2, noSuchName: 3, notImplemented: 4, refused: 5 } as const;

const NAME_BYTES_MAX = 255;
const POINTERS_MAX = 32;
const RECORDS_MAX = 1_000;
/** Without EDNS (RFC 1035 §2.3.4). */
const UDP_BYTES_DEFAULT = 512;

/** One question of the guest. */
export interface Query {
  readonly id: number;
  /** Lower case, without the root's dot; bytes that no host name has are escaped as `\ddd`. */
  readonly name: string;
  /** The question section as it came, uncompressed. */
  readonly question: Buffer;
  readonly type: number;
  /** Bytes that the client accepts in a datagram. */
  readonly bytesMax: number;
  readonly edns: boolean;
  readonly dnssec: boolean;
  readonly recursionDesired: boolean;
  readonly checkingDisabled: boolean;
}

/** A query that is answered with nothing but a code. */
export interface Refusal {
  readonly id: number;
  readonly rcode: number;
}

export interface AnswerRecord {
  readonly name: string;
  readonly type: number;
  readonly ttlSeconds: number;
  /** Address of an A or AAAA record. */
  readonly address?: Address;
  /** Target of a CNAME record. */
  readonly target?: string;
  /** The record in the message, owner name first. */
  readonly start: number;
  readonly end: number;
}

export interface DnsResponse {
  readonly rcode: number;
  readonly truncated: boolean;
  readonly answers: readonly AnswerRecord[];
  readonly authorityCount: number;
  readonly authorityEnd: number;
  readonly answersEnd: number;
}

interface Name {
  readonly name: string;
  /** Offset after the name itself, not after the target of a pointer. */
  readonly end: number;
}

/** Thrown inside this file only, for a message that is truncated or has circular pointers. */
class MessageError extends Error {}

/** A name with its compression pointers followed; they must point backwards, so that they end. */
function readName(message: Buffer, start: number): Name {
  const labels: string[] = [];
  let at = start;
  let end: number | undefined;
  let bytes = 1;
  let pointers = 0;
  let floor = start;
  for (;;) {
    const length = byteAt(message, at);
    if (length === 0) break;
    if (length >= 0xc0) {
      end ??= at + 2;
      at = ((length & 0x3f) << 8) | byteAt(message, at + 1);
      pointers += 1;
      if (at >= floor || pointers > POINTERS_MAX) throw new MessageError('pointer');
      floor = at;
      continue;
    }
    if (length > 63) throw new MessageError('label type');
    bytes += 1 + length;
    if (bytes > NAME_BYTES_MAX || at + 1 + length > message.length) throw new MessageError('name length');
    labels.push(printable(message.subarray(at + 1, at + 1 + length)));
    at += 1 + length;
  }
  return { name: labels.join('.').toLowerCase(), end: end ?? at + 1 };
}

function byteAt(message: Buffer, at: number): number {
  const value = message[at];
  if (value === undefined) throw new MessageError('truncated');
  return value;
}

/** Master-file escapes: bytes that are not letters of a host name cannot pass for a dot or reach a terminal. */
function printable(label: Buffer): string {
  const text = label.toString('latin1');
  return text.replace(/[^\w-]/gu, (char) => `\\${char.charCodeAt(0).toString().padStart(3, '0')}`);
}

function sectionsFit(message: Buffer): boolean {
  if (message.length < DNS_HEADER_BYTES || message.length > DNS_MESSAGE_BYTES_MAX) return false;
  const records = message.readUInt16BE(6) + message.readUInt16BE(8) + message.readUInt16BE(10);
  return records <= RECORDS_MAX;
}

/** The guest's message as a query, as a refusal, or undefined when it deserves no answer at all. */
export function parseQuery(message: Buffer): Query | Refusal | undefined {
  if (message.length < DNS_HEADER_BYTES || (message[2] ?? 0) >= 0x80) return undefined;
  const id = message.readUInt16BE(0);
  const flags = message.readUInt16BE(2);
  if ((flags & 0x7800) !== 0) return { id, rcode: RCODE.notImplemented };
  if (message.readUInt16BE(4) !== 1 || !sectionsFit(message)) return { id, rcode: RCODE.malformed };
  try {
    const { name, end } = readName(message, DNS_HEADER_BYTES);
    const nameBytes = message.subarray(DNS_HEADER_BYTES, end);
    // Before the question there is nothing that a pointer could refer to.
    if (end + 4 > message.length || nameBytes.at(-1) !== 0) return { id, rcode: RCODE.malformed };
    if (message.readUInt16BE(end + 2) !== 1) return { id, rcode: RCODE.notImplemented };
    return {
      id,
      name,
      question: Buffer.from(message.subarray(DNS_HEADER_BYTES, end + 4)),
      type: message.readUInt16BE(end),
      recursionDesired: (flags & 0x0100) !== 0,
      checkingDisabled: (flags & 0x0010) !== 0,
      ...readEdns(message, end + 4),
    };
  } catch (error) {
    if (error instanceof MessageError) return { id, rcode: RCODE.malformed };
    throw error;
  }
}

function readEdns(message: Buffer, start: number): Pick<Query, 'bytesMax' | 'edns' | 'dnssec'> {
  const records = message.readUInt16BE(6) + message.readUInt16BE(8) + message.readUInt16BE(10);
  let at = start;
  for (let index = 0; index < records; index += 1) {
    const head = readHead(message, at);
    if (head.type === RECORD.opt) {
      const bytesMax = Math.max(message.readUInt16BE(head.data - 8), UDP_BYTES_DEFAULT);
      return { bytesMax, edns: true, dnssec: (head.ttlSeconds & 0x8000) !== 0 };
    }
    at = head.end;
  }
  return { bytesMax: UDP_BYTES_DEFAULT, edns: false, dnssec: false };
}

function readHead(
  message: Buffer,
  at: number,
): { readonly name: string; type: number; ttlSeconds: number; data: number; end: number } {
  const { name, end } = readName(message, at);
  if (end + 10 > message.length) throw new MessageError('record header');
  const data = end + 10;
  const dataEnd = data + message.readUInt16BE(end + 8);
  if (dataEnd > message.length) throw new MessageError('record length');
  return { name, type: message.readUInt16BE(end), ttlSeconds: message.readUInt32BE(end + 4), data, end: dataEnd };
}

/** Reports whether `message` answers `query`, which was sent with `id`; the first defence against forged answers. */
export function isAnswerTo(message: Buffer, query: Query, id: number): boolean {
  if (message.length < DNS_HEADER_BYTES || message.readUInt16BE(0) !== id || (message[2] ?? 0) < 0x80) return false;
  const question = message.subarray(DNS_HEADER_BYTES, DNS_HEADER_BYTES + query.question.length);
  // Resolvers may change the case of a name.
  const folded = [question, query.question].map((bytes) => bytes.toString('latin1').toLowerCase());
  return message.readUInt16BE(4) === 1 && folded[0] === folded[1];
}

/** The network's answer to `query`; undefined when it cannot be read. */
export function parseResponse(message: Buffer, query: Query): DnsResponse | undefined {
  if (!sectionsFit(message)) return undefined;
  try {
    const flags = message.readUInt16BE(2);
    const answers: AnswerRecord[] = [];
    let at = DNS_HEADER_BYTES + query.question.length;
    for (let index = message.readUInt16BE(6); index > 0; index -= 1) {
      const record = readRecord(message, at);
      answers.push(record);
      at = record.end;
    }
    const answersEnd = at;
    const authorityCount = message.readUInt16BE(8);
    for (let index = authorityCount; index > 0; index -= 1) at = readHead(message, at).end;
    const truncated = (flags & 0x0200) !== 0;
    return { rcode: flags & 0x0f, truncated, answers, answersEnd, authorityCount, authorityEnd: at };
  } catch (error) {
    if (error instanceof MessageError) return undefined;
    throw error;
  }
}

function readRecord(message: Buffer, start: number): AnswerRecord {
  const { name, type, ttlSeconds, data, end } = readHead(message, start);
  const plain = { name, type, ttlSeconds, start, end };
  if (type === RECORD.cname) return { ...plain, target: readName(message, data).name };
  if (type === RECORD.a && end - data === 4) return { ...plain, address: fromIp4(message.readUInt32BE(data)) };
  if (type !== RECORD.aaaa || end - data !== 16) return plain;
  const address = new Uint32Array(4);
  readAddress(message, data, 6, address);
  return { ...plain, address };
}
