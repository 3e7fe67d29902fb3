import { setImmediate } from 'node:timers/promises';
import { parseCidr } from '../../../src/std/ip/address.ts';
import type { Resolver } from '../../../src/sandbox/network/dns/resolver.ts';
import { DnsServer } from '../../../src/sandbox/network/dns/server.ts';
import { Filter, type FilterOptions } from '../../../src/sandbox/network/filter.ts';
import { guestLink } from '../../../src/sandbox/network/link.ts';
import { Reach } from '../../../src/sandbox/network/reach.ts';
import type { Far } from '../../../src/sandbox/network/tcp/connection.ts';
import { FlowBudget } from '../../../src/sandbox/network/udp/budget.ts';
import type { Heard } from '../../../src/sandbox/network/udp/dial.ts';
import { UseCounter } from '../../../src/sandbox/network/use.ts';
import { ip4, ScriptedGuest, wire } from './guest.ts';

export const GATEWAY = ip4(10, 118, 37, 1);
/** An address from a documentation range, treated as public. */
export const PUBLIC = ip4(203, 0, 113, 80);

/** Scripted host socket for the guest's datagrams. */
export interface ScriptedFlow {
  readonly host: string;
  readonly port: number;
  readonly sent: Buffer[];
  /** Delivers a datagram from the outside. */
  readonly heard: Heard;
  closed: boolean;
}

/** A filter between a scripted guest and a scripted outside. */
export interface Bench {
  readonly guest: ScriptedGuest;
  /** The guest's flows in the order of their opening. */
  readonly flows: ScriptedFlow[];
  readonly use: UseCounter;
  readonly detach: () => void;
}

/** Rules of a bench's filter: everything public is allowed, on a host in 198.51.100.0/24. */
export function reachOfBench(): Reach {
  return new Reach({ mode: 'public' }, { networks: () => [parseCidr('198.51.100.0/24')!] });
}

/** A remote end that refuses every connection. */
function refuse(): Far {
  return { stream: wire()[0], accepted: Promise.reject(new Error('refused')) };
}

export function bench(
  options: {
    readonly resolver?: Resolver;
    readonly dial?: FilterOptions['dial'];
    readonly budget?: FlowBudget;
  } = {},
): Bench {
  const { resolver = { resolve: async () => undefined }, dial = refuse, budget = new FlowBudget() } = options;
  const link = guestLink(true);
  const use = new UseCounter();
  const reach = reachOfBench();
  const refused = (name: string): void => use.refused(`dns ${name}`);
  const dns = new DnsServer({ resolver, reach, hosts: new Map(), refused }, new AbortController().signal);
  const flows: ScriptedFlow[] = [];
  const dialUdp: FilterOptions['dialUdp'] = (host, port, heard) => {
    const flow: ScriptedFlow = { host, port, heard, sent: [], closed: false };
    flows.push(flow);
    return {
      send: (payload) => void flow.sent.push(Buffer.from(payload)),
      [Symbol.dispose]: () => {
        flow.closed = true;
      },
    };
  };
  const filter = new Filter({ link, reach, dns, use, dial, dialUdp, flows: budget });
  const [qemu, far] = wire();
  filter.attach(qemu);
  return { guest: new ScriptedGuest(far, link), flows, use, detach: () => filter.detach() };
}

export async function until(condition: () => boolean): Promise<void> {
  const patience = AbortSignal.timeout(5_000);
  while (!condition()) {
    patience.throwIfAborted();
    await setImmediate();
  }
}
