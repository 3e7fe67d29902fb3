import { contains, keyOf, type Address } from '../../std/ip/address.ts';
import type { Rule } from '../network-rule.ts';

/** Address that an answered name stands for, and until when. */
interface Learned {
  readonly expiresMs: number;
  readonly ports: 'every' | ReadonlySet<number>;
}

/** A short TTL must not cut off a program that resolves once and connects again and again. */
const LEARNED_SECONDS_MIN = 300;
const LEARNED_SECONDS_MAX = 86_400;
const LEARNED_MAX = 10_000;

/**
 * Destinations by address, block and name. A name stands for its addresses from DNS until they expire. Expired addresses are
 * remembered, so that open connections go on.
 */
export class RuleSet {
  readonly #blocks: readonly Extract<Rule, { kind: 'block' }>[];
  readonly #names: readonly Extract<Rule, { kind: 'name' }>[];
  readonly #learned = new Map<string, Learned>();
  readonly #nowMs: () => number;

  constructor(rules: readonly Rule[], nowMs: () => number) {
    this.#blocks = rules.filter((rule) => rule.kind === 'block');
    this.#names = rules.filter((rule) => rule.kind === 'name');
    this.#nowMs = nowMs;
  }

  /** `fresh`: the packet begins something new, so a name's addresses count only until they expire. */
  matches(address: Address, port: number, fresh: boolean): boolean {
    if (this.#blocks.some((rule) => contains(rule.block, address) && (rule.port ?? port) === port)) return true;
    if (this.#names.length === 0) return false;
    const learned = this.#learned.get(keyOf(address));
    if (learned === undefined || (fresh && learned.expiresMs <= this.#nowMs())) return false;
    return learned.ports === 'every' || learned.ports.has(port);
  }

  /** Reports whether any port of the address matches, now. */
  covers(address: Address): boolean {
    return this.#blocks.some((rule) => contains(rule.block, address)) || this.#learned.has(keyOf(address));
  }

  /** `name` is in lower case, without a dot at the end. */
  matchesName(name: string): boolean {
    return this.#named(name).length > 0;
  }

  /** Records that DNS resolved `name` to `address`. If the name is on the list, it stands for that address from now on. */
  learn(name: string, address: Address, ttlSeconds: number): void {
    const rules = this.#named(name);
    if (rules.length === 0) return;
    const seconds = Math.min(Math.max(ttlSeconds, LEARNED_SECONDS_MIN), LEARNED_SECONDS_MAX);
    const expiresMs = this.#nowMs() + seconds * 1000;
    const key = keyOf(address);
    const before = this.#learned.get(key);
    const ports = rules.flatMap(({ port }) => (port === undefined ? [] : [port]));
    const every = ports.length < rules.length || before?.ports === 'every';
    const known = before === undefined || before.ports === 'every' ? [] : before.ports;
    this.#learned.delete(key);
    this.#learned.set(key, { expiresMs, ports: every ? 'every' : new Set([...known, ...ports]) });
    const [oldest] = this.#learned.keys();
    if (this.#learned.size > LEARNED_MAX && oldest !== undefined) this.#learned.delete(oldest);
  }

  #named(name: string): readonly Extract<Rule, { kind: 'name' }>[] {
    return this.#names.filter((rule) => (rule.subdomains ? name.endsWith(`.${rule.name}`) : name === rule.name));
  }
}
