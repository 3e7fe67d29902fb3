import { fault } from '../../contract/errors.ts';
import type { NetworkPolicy } from '../driver.ts';
import { parseRule } from '../network-rule.ts';
import { contains, fromIp4, type Address, type Cidr } from '../../std/ip/address.ts';
import { addressKind } from '../../std/ip/kind.ts';
import { PROTOCOL, TCP_FLAG, type Packet } from './packet.ts';
import { embeddedIp4 } from './dns/nat64.ts';
import { hostNetworks } from './host-networks.ts';
import { RuleSet } from './rules.ts';

export interface ReachOptions {
  /** Private destinations that the owner of the host permits: `host[:port]`, address or CIDR block. */
  readonly exceptions?: readonly string[];
  /** Injected by tests. */
  readonly networks?: () => readonly Cidr[];
  readonly nowMs?: () => number;
}

/** Ports of DNS, and of DNS over TLS or QUIC. Only the filter resolves names; otherwise a list of names would have no effect. */
const DNS_PORTS: ReadonlySet<number> = new Set([53, 853]);
const RULES_MAX = 1_000;
/** Interval of checks, because a laptop may change networks during a run. A check takes less than half a millisecond. */
const NETWORKS_FRESH_MS = 1_000;

/**
 * Policy of one guest. An address must be public, or excepted by the owner of the host. In mode `allowlist` it must also be
 * on the run's own list. The run's list never opens private addresses.
 */
export class Reach {
  readonly #exceptions: RuleSet;
  readonly #list: RuleSet | undefined;
  readonly #networksOf: () => readonly Cidr[];
  readonly #nowMs: () => number;
  #networks: readonly Cidr[];
  #networksReadMs: number;
  #nat64: readonly Cidr[] = [];

  /** Throws ARGUMENT_INVALID or CONFIG_INVALID on a rule that cannot be read. */
  constructor(policy: Exclude<NetworkPolicy, { mode: 'none' }>, options: ReachOptions = {}) {
    const { exceptions = [], networks = hostNetworks, nowMs = () => performance.now() } = options;
    this.#networksOf = networks;
    this.#nowMs = nowMs;
    this.#networks = networks();
    this.#networksReadMs = nowMs();
    this.#exceptions = new RuleSet(bounded(exceptions).map(parseRule), nowMs);
    this.#list = policy.mode === 'allowlist' ? new RuleSet(bounded(policy.allow).map(parseRule), nowMs) : undefined;
  }

  /** Reports whether the guest may send `packet`. */
  permits(packet: Packet): boolean {
    const { destination, destinationPort: port, protocol } = packet;
    const fresh = protocol !== PROTOCOL.tcp || (packet.flags & (TCP_FLAG.syn | TCP_FLAG.ack)) === TCP_FLAG.syn;
    if (fresh) this.#refresh();
    if (!this.#open(destination, port, fresh)) return false;
    return this.#list === undefined || this.#list.matches(destination, port, fresh);
  }

  /** Reports whether the guest may ask for this name. */
  permitsName(name: string): boolean {
    return this.#list === undefined || this.#list.matchesName(name);
  }

  /** Reports whether the guest may learn that `name` is at `address`: public names must not point into private networks. */
  shows(name: string, address: Address): boolean {
    return !this.isPrivate(address) || this.#exceptions.covers(address) || this.#exceptions.matchesName(name);
  }

  /** Records that DNS resolved `name` to `address`, before the guest gets the answer. */
  learn(name: string, address: Address, ttlSeconds: number): void {
    this.#exceptions.learn(name, address, ttlSeconds);
    this.#list?.learn(name, address, ttlSeconds);
  }

  /** Sets the prefixes (NAT64) with which the host's network reaches IPv4. Rules apply to the addresses that they wrap. */
  translate(prefixes: readonly Cidr[]): void {
    this.#nat64 = prefixes;
  }

  isPrivate(address: Address): boolean {
    if (addressKind(address) !== 'public' || this.#networks.some((network) => contains(network, address))) return true;
    return this.#nat64.some(
      (prefix) => contains(prefix, address) && this.isPrivate(fromIp4(embeddedIp4(address, prefix.bits))),
    );
  }

  #open(address: Address, port: number, fresh: boolean): boolean {
    const ordinary = !DNS_PORTS.has(port) && !this.isPrivate(address);
    return ordinary || this.#exceptions.matches(address, port, fresh);
  }

  #refresh(): void {
    const nowMs = this.#nowMs();
    if (nowMs - this.#networksReadMs < NETWORKS_FRESH_MS) return;
    this.#networks = this.#networksOf();
    this.#networksReadMs = nowMs;
  }
}

function bounded(rules: readonly string[]): readonly string[] {
  if (rules.length > RULES_MAX) throw fault('ARGUMENT_INVALID', { reason: `more than ${RULES_MAX} network rules` });
  return rules;
}
