import { isMapped, parseCidr, type Address } from '../../../std/ip/address.ts';
import type { Reach } from '../reach.ts';
import { composeAddresses, composeEmpty, composeForwarded, composeRefusal, fitDatagram } from './compose.ts';
import {
  parseResponse,
  parseQuery,
  RCODE,
  RECORD,
  type DnsResponse,
  type AnswerRecord,
  type Query,
} from './message.ts';
import type { Resolver } from './resolver.ts';

export interface DnsServerOptions {
  readonly resolver: Resolver;
  readonly reach: Reach;
  /** Names that we answer ourselves. */
  readonly hosts: ReadonlyMap<string, Address>;
  /** Called for each name that the policy refused. */
  readonly refused: (name: string) => void;
}

/** Limit of pending questions of one guest. Beyond it the guest has to ask again, as after any lost datagram. */
const QUESTIONS_MAX = 256;
const HOSTS_TTL_SECONDS = 60;

/** The guest's only nameserver: enforces the policy on names, and reports their addresses to it. */
export class DnsServer {
  readonly #options: DnsServerOptions;
  readonly #signal: AbortSignal;
  #questions = 0;

  /** `signal` ends every question under way. */
  constructor(options: DnsServerOptions, signal: AbortSignal) {
    this.#options = options;
    this.#signal = signal;
  }

  /** The reply to one message, or undefined when there is to be none. Rejects only when the signal fires. */
  async answer(message: Buffer, transport: 'udp' | 'tcp'): Promise<Buffer | undefined> {
    const query = parseQuery(message);
    if (query === undefined) return undefined;
    if ('rcode' in query) return composeRefusal(query);
    if (this.#questions >= QUESTIONS_MAX) return undefined;
    this.#questions += 1;
    try {
      const reply = await this.#reply(query);
      return transport === 'udp' ? fitDatagram(query, reply) : reply;
    } finally {
      this.#questions -= 1;
    }
  }

  async #reply(query: Query): Promise<Buffer> {
    const { reach, hosts, refused, resolver } = this.#options;
    // "No such name" rather than "refused", because C libraries accept it as an answer and do not ask again.
    if (!reach.permitsName(query.name) || this.#isPrivateReverse(query.name)) {
      refused(query.name);
      return composeEmpty(query, RCODE.noSuchName);
    }
    const host = hosts.get(query.name);
    if (host !== undefined) {
      reach.learn(query.name, host, HOSTS_TTL_SECONDS);
      return composeAddresses(query, query.type === RECORD.a ? [host] : [], HOSTS_TTL_SECONDS);
    }
    const message = await resolver.resolve(query, this.#signal);
    const response = message === undefined ? undefined : parseResponse(message, query);
    if (message === undefined || response === undefined) return composeEmpty(query, RCODE.failed);
    return this.#censor(query, message, response);
  }

  /** Removes addresses in private networks. The others become reachable if the policy lists names. */
  #censor(query: Query, message: Buffer, response: DnsResponse): Buffer {
    const { reach, refused } = this.#options;
    const located = addressesOf(query.name, response.answers);
    const shown = located.filter(({ address }) => reach.shows(query.name, address));
    for (const { address, ttlSeconds } of shown) reach.learn(query.name, address, ttlSeconds);
    const stray = response.answers.some(({ address }) => address !== undefined && !reach.shows(query.name, address));
    if (!stray) return composeForwarded(query, message, response);
    refused(`${query.name} (private address)`);
    const wanted = shown
      .map(({ address }) => address)
      .filter((address) => isMapped(address) === (query.type === RECORD.a));
    const isLookup = query.type === RECORD.a || query.type === RECORD.aaaa;
    return composeAddresses(query, isLookup ? wanted : [], Math.min(...shown.map(({ ttlSeconds }) => ttlSeconds), 60));
  }

  /** Reports whether a question is for the name of a private address, which only the private network should answer. */
  #isPrivateReverse(name: string): boolean {
    const address = reverseAddress(name);
    return address !== undefined && this.#options.reach.isPrivate(address) && !this.#options.reach.shows(name, address);
  }
}

/** The address records that belong to `name`, through its aliases. */
function addressesOf(
  name: string,
  answers: readonly AnswerRecord[],
): readonly { readonly address: Address; readonly ttlSeconds: number }[] {
  const names = new Set([name]);
  // Aliases come in order as a rule; one more pass for each that does not.
  for (let before = 0; before < names.size;) {
    before = names.size;
    for (const { name: owner, target } of answers) {
      if (target !== undefined && names.has(owner)) names.add(target);
    }
  }
  return answers.flatMap(({ name: owner, address, ttlSeconds }) =>
    address !== undefined && names.has(owner) ? [{ address, ttlSeconds }] : [],
  );
}

/** The address that a name below `in-addr.arpa` or `ip6.arpa` asks about, missing parts taken as zero. */
function reverseAddress(name: string): Address | undefined {
  const [, labels, family] = /^([0-9a-f.]+)\.(in-addr|ip6)\.arpa$/u.exec(name) ?? [];
  if (labels === undefined) return undefined;
  const parts = labels.split('.').toReversed();
  if (family === 'in-addr') return parseCidr([...parts, '0', '0', '0'].slice(0, 4).join('.'))?.address;
  const digits = parts.join('').padEnd(32, '0').slice(0, 32);
  return parseCidr(digits.match(/.{4}/gu)?.join(':') ?? '')?.address;
}
