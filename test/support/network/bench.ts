import assert from 'node:assert/strict';
import { setImmediate } from 'node:timers/promises';
import type { Duplex } from 'node:stream';
import { parseCidr } from '../../../src/std/ip-address.ts';
import type { Resolver } from '../../../src/sandbox/network/dns/resolver.ts';
import { DnsServer } from '../../../src/sandbox/network/dns/server.ts';
import { Filter, type FilterOptions } from '../../../src/sandbox/network/filter.ts';
import { FrameReader } from '../../../src/sandbox/network/frames.ts';
import { guestLink } from '../../../src/sandbox/network/link.ts';
import { emptyPacket, parsePacket, type Packet } from '../../../src/sandbox/network/packet.ts';
import { Reach } from '../../../src/sandbox/network/reach.ts';
import type { Far } from '../../../src/sandbox/network/tcp/connection.ts';
import { UseCounter } from '../../../src/sandbox/network/use.ts';
import { ip4, ScriptedGuest, wire } from './guest.ts';

export const GATEWAY = ip4(10, 118, 37, 1);
/** An address of a documentation range, which counts as public. */
export const PUBLIC = ip4(203, 0, 113, 80);

/** A filter between a scripted guest and a scripted outside. */
export interface Bench {
  readonly guest: ScriptedGuest;
  /** Where a passt would be: what it is sent comes out here, what is written goes to the guest. */
  readonly outside: Duplex;
  /** Frames that left, in their framing. */
  readonly left: Buffer[];
  readonly use: UseCounter;
  readonly opened: () => number;
  readonly detach: () => void;
}

/** What the filter of a bench permits: all that is public, on a host in 198.51.100.0/24. */
export function reachOfBench(): Reach {
  return new Reach({ mode: 'public' }, { networks: () => [parseCidr('198.51.100.0/24')!] });
}

/** A far end that accepts nothing. */
function refuse(): Far {
  return { stream: wire()[0], accepted: Promise.reject(new Error('refused')) };
}

export function bench(
  options: {
    readonly resolver?: Resolver;
    readonly available?: boolean;
    readonly listen?: boolean;
    readonly dial?: FilterOptions['dial'];
  } = {},
): Bench {
  const { resolver = { resolve: async () => undefined }, available = true, listen = true, dial = refuse } = options;
  const link = guestLink(true);
  const use = new UseCounter();
  const reach = reachOfBench();
  const refused = (name: string): void => use.refused(`dns ${name}`);
  const dns = new DnsServer({ resolver, reach, hosts: new Map(), refused }, new AbortController().signal);
  const [ours, passt] = wire();
  let opened = 0;
  const open = (): Duplex | undefined => {
    opened += 1;
    return available ? ours : undefined;
  };
  const filter = new Filter({ link, reach, dns, use, dial, outside: open });
  const [qemu, far] = wire();
  filter.attach(qemu);
  const left: Buffer[] = [];
  const reader = new FrameReader((framed) => left.push(framed), assert.fail);
  if (listen) passt.on('data', (chunk: Buffer) => reader.push(chunk));
  return {
    guest: new ScriptedGuest(far, link),
    outside: passt,
    left,
    use,
    opened: () => opened,
    detach: () => filter.detach(),
  };
}

export async function until(condition: () => boolean): Promise<void> {
  const patience = AbortSignal.timeout(5_000);
  while (!condition()) {
    patience.throwIfAborted();
    await setImmediate();
  }
}

/** The packet in a frame that left. */
export function parsed(framed: Buffer): Packet {
  const packet = emptyPacket();
  assert.equal(parsePacket(framed.subarray(4), packet), undefined);
  return packet;
}
