import { randomInt } from 'node:crypto';
import { bytesOfAddress, isMapped, type Address } from '../../../std/ip/address.ts';
import { DNS_HEADER_BYTES, RCODE, RECORD, type DnsResponse, type Query, type Refusal } from './message.ts';

/** Bytes that resolvers are asked to put into one datagram: what crosses any network in one piece (DNS flag day 2020). */
const RESOLVER_DATAGRAM_BYTES = 1_232;
/** Offset of the question's name, as a compression pointer. */
const QUESTION_POINTER = 0xc000 | DNS_HEADER_BYTES;

const FLAG = { response: 0x8000, truncated: 0x0200, recursion: 0x0100, available: 0x0080, unchecked: 0x0010 } as const;

interface Counts {
  readonly answers?: number;
  readonly authority?: number;
  readonly additional?: number;
}

function header(id: number, flags: number, questions: number, counts: Counts): Buffer {
  const bytes = Buffer.alloc(DNS_HEADER_BYTES);
  const { answers = 0, authority = 0, additional = 0 } = counts;
  [id, flags, questions, answers, authority, additional].forEach((value, index) => {
    bytes.writeUInt16BE(value, 2 * index);
  });
  return bytes;
}

function edns(bytesMax: number, dnssec: boolean): Buffer {
  const record = Buffer.alloc(11);
  record.writeUInt16BE(RECORD.opt, 1);
  record.writeUInt16BE(bytesMax, 3);
  record.writeUInt16BE(dnssec ? 0x8000 : 0, 7);
  return record;
}

/** Returns the guest's question with a new id and header, and nothing else that the guest sent. */
export function composeQuery(query: Query): { readonly id: number; readonly message: Buffer } {
  const id = randomInt(0x1_0000);
  const flags = FLAG.recursion | (query.checkingDisabled ? FLAG.unchecked : 0);
  const head = header(id, flags, 1, { additional: 1 });
  return { id, message: Buffer.concat([head, query.question, edns(RESOLVER_DATAGRAM_BYTES, query.dnssec)]) };
}

export function composeRefusal({ id, rcode }: Refusal): Buffer {
  return header(id, FLAG.response | FLAG.available | rcode, 0, {});
}

/** An answer without records. */
export function composeEmpty(query: Query, rcode: number): Buffer {
  return compose(query, rcode, Buffer.alloc(0), {});
}

/** Returns an answer with these addresses for the name, without aliases. */
export function composeAddresses(query: Query, addresses: readonly Address[], ttlSeconds: number): Buffer {
  const records = addresses.map((address) => {
    const data = bytesOfAddress(address);
    const record = Buffer.alloc(12);
    record.writeUInt16BE(QUESTION_POINTER, 0);
    record.writeUInt16BE(isMapped(address) ? RECORD.a : RECORD.aaaa, 2);
    record.writeUInt16BE(1, 4);
    record.writeUInt32BE(ttlSeconds, 6);
    record.writeUInt16BE(data.length, 10);
    return Buffer.concat([record, data]);
  });
  return compose(query, RCODE.ok, Buffer.concat(records), { answers: records.length });
}

/**
 * Returns the network's answer with the guest's id. Answer and authority keep their bytes, because compression pointers count
 * from the start of the message. The additional section is left out.
 */
export function composeForwarded(query: Query, message: Buffer, response: DnsResponse): Buffer {
  const sections = message.subarray(DNS_HEADER_BYTES + query.question.length, response.authorityEnd);
  const counts = { answers: response.answers.length, authority: response.authorityCount };
  return compose(query, response.rcode, sections, counts);
}

/** Returns the same answer if it fits into a datagram that the client accepts, else the request to ask again over TCP. */
export function fitDatagram(query: Query, reply: Buffer): Buffer {
  if (reply.length <= query.bytesMax) return reply;
  const truncated = composeEmpty(query, reply.readUInt16BE(2) & 0x0f);
  truncated.writeUInt16BE(truncated.readUInt16BE(2) | FLAG.truncated, 2);
  return truncated;
}

function compose(query: Query, rcode: number, sections: Buffer, counts: Counts): Buffer {
  const asked = (query.recursionDesired ? FLAG.recursion : 0) | (query.checkingDisabled ? FLAG.unchecked : 0);
  const flags = FLAG.response | FLAG.available | asked | rcode;
  const head = header(query.id, flags, 1, { ...counts, additional: query.edns ? 1 : 0 });
  const tail = query.edns ? [edns(RESOLVER_DATAGRAM_BYTES, query.dnssec)] : [];
  return Buffer.concat([head, query.question, sections, ...tail]);
}
