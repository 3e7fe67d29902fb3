import type { Duplex } from 'node:stream';
import type { NetworkPolicy, NetworkUse } from '../driver.ts';
import { nat64Prefixes } from './dns/nat64.ts';
import { forwardingResolver, type Resolver } from './dns/resolver.ts';
import { DnsServer } from './dns/server.ts';
import { Filter } from './filter.ts';
import { FrameReader } from './frames.ts';
import { guestSetup } from './guest-network.ts';
import { Intake } from './intake.ts';
import { addressOf, guestLink, HOST_NAME, hostFamilies, IP4, type Families, type GuestLink } from './link.ts';
import { Reach } from './reach.ts';
import { dialHost } from './tcp/dial.ts';
import { processFlows } from './udp/budget.ts';
import { dialUdp } from './udp/dial.ts';
import { UseCounter } from './use.ts';

export { forwardingResolver, guestSetup, HOST_NAME };
export type { GuestLink, Resolver };

export interface NetworkOptions {
  /**
   * Private destinations that the owner of the host permits: `host[:port]`, address or CIDR block. A run's own list
   * never opens them. `localhost:port` opens a TCP port of the host's loopback; guests reach it at `HOST_NAME`.
   */
  readonly exceptions?: readonly string[];
  /** The same as port numbers: `localhost:port` for each. */
  readonly hostPorts?: readonly number[];
  /** Default: the nameservers of the host. */
  readonly resolver?: Resolver;
  /** Default: what the interfaces of the host show. */
  readonly families?: Families;
}

/** One run's network. Disposing it closes its sockets; the one to QEMU stays with the caller. */
export interface Network extends AsyncDisposable {
  /** Configuration for the agent; undefined in mode `none`, where the interface stays down. */
  readonly guest: GuestLink | undefined;
  /** Filters the frames of `qemu` (`[length u32 BE][frame]`) from now on. Once. */
  attach(qemu: Duplex): void;
  use(): NetworkUse;
}

/** Opens the network of one run. Rejects with ARGUMENT_INVALID when a rule cannot be read. */
export async function openNetwork(
  policy: NetworkPolicy,
  options: NetworkOptions,
  signal: AbortSignal,
): Promise<Network> {
  signal.throwIfAborted();
  return policy.mode === 'none' ? new ClosedNetwork() : new FilteredNetwork(policy, options);
}

/** Mode `none`: the guest cannot reach anything. */
class ClosedNetwork implements Network {
  readonly guest = undefined;
  readonly #use = new UseCounter();
  #intake: Intake | undefined;

  attach(qemu: Duplex): void {
    const refuse = (): void => this.#use.refused('the network is off');
    this.#intake = new Intake(qemu, new FrameReader(refuse, refuse));
    qemu.on('error', () => {});
  }

  use(): NetworkUse {
    return this.#use.snapshot();
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#intake?.[Symbol.dispose]();
    return Promise.resolve();
  }
}

const HOST_PORT = /^(?:localhost|127\.0\.0\.1|\[::1\]):(\d{1,5})$/u;

/** Maps the excepted ports of the host's loopback to the gateway, because the guest has its own loopback. */
function onGateway(exception: string): string {
  return exception.replace(HOST_PORT, `${IP4.gateway}:$1`);
}

class FilteredNetwork implements Network {
  readonly guest: GuestLink;
  readonly #use = new UseCounter();
  readonly #filter: Filter;
  readonly #closing = new AbortController();

  constructor(policy: Exclude<NetworkPolicy, { mode: 'none' }>, options: NetworkOptions) {
    const { hostPorts = [], families = hostFamilies(), resolver = forwardingResolver() } = options;
    const exceptions = [...(options.exceptions ?? []), ...hostPorts.map((port) => `localhost:${port}`)];
    this.guest = guestLink(families.ip6);
    const reach = new Reach(policy, { exceptions: exceptions.map(onGateway) });
    // Nothing waits for it, because the guest does not run yet.
    if (families.ip6) {
      void nat64Prefixes(resolver, this.#closing.signal).then(
        (prefixes) => reach.translate(prefixes),
        () => undefined,
      );
    }
    const opensLoopback = exceptions.some((exception) => HOST_PORT.test(exception));
    const hosts = opensLoopback ? [[HOST_NAME, addressOf(IP4.gateway)] as const] : [];
    const refused = (name: string): void => this.#use.refused(`dns ${name}`);
    const dns = new DnsServer({ resolver, reach, hosts: new Map(hosts), refused }, this.#closing.signal);
    this.#filter = new Filter({
      link: this.guest,
      reach,
      dns,
      use: this.#use,
      dial: dialHost,
      dialUdp,
      flows: processFlows,
    });
  }

  attach(qemu: Duplex): void {
    this.#filter.attach(qemu);
  }

  use(): NetworkUse {
    return this.#use.snapshot();
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    this.#filter.detach();
    return Promise.resolve();
  }
}
