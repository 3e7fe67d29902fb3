import { access, constants } from 'node:fs/promises';
import type { Duplex } from 'node:stream';
import { fault } from '../../contract/errors.ts';
import type { NetworkPolicy, NetworkUse } from '../driver.ts';
import { forwardingResolver, type Resolver } from './dns/resolver.ts';
import { DnsServer } from './dns/server.ts';
import { Filter } from './filter.ts';
import { FrameReader } from './frames.ts';
import { addressOf, guestLink, HOST_NAME, hostFamilies, IP4, type Families, type GuestLink } from './link.ts';
import { Passt } from './passt.ts';
import { Reach } from './reach.ts';
import { dialHost } from './tcp/dial.ts';
import { UseCounter } from './use.ts';

export { forwardingResolver, HOST_NAME };
export type { GuestLink, Resolver };

export interface NetworkOptions {
  /**
   * Private destinations that the owner of the host permits: `host[:port]`, address or CIDR block. A run's own list
   * never opens them. `localhost:port` opens a TCP port of the host's loopback; guests reach it at `HOST_NAME`.
   */
  readonly exceptions?: readonly string[];
  /** The same for callers that have numbers: `localhost:port` for each. */
  readonly hostPorts?: readonly number[];
  /** Default: the nameservers of the host. */
  readonly resolver?: Resolver;
  /** How passt is started; only root may name a uid and gid, and should. */
  readonly passt?: { readonly program?: string; readonly uid?: number; readonly gid?: number };
  /** Default: what the interfaces of the host show. */
  readonly families?: Families;
  readonly log?: (message: string) => void;
}

/** One run's network. Disposing it ends its passt; the socket to QEMU stays with whoever attached it. */
export interface Network extends AsyncDisposable {
  /** What the agent configures; undefined in mode `none`, where the interface stays down. */
  readonly guest: GuestLink | undefined;
  /** Filters the frames of `qemu` (`[length u32 BE][frame]`) from now on. Once. */
  attach(qemu: Duplex): void;
  use(): NetworkUse;
}

const PASST_PROGRAM = '/usr/bin/passt';
/** A passt that ends is replaced, but one that cannot start is not started for every packet. */
const PASST_RETRY_MS = 1_000;
const PASST_REFUSED_RETRY_MS = 30_000;

/**
 * Opens the network of one run. Cheap: passt (some 20 ms) is started when the first datagram may leave.
 *
 * Rejects with DRIVER_UNAVAILABLE when passt is not installed, ARGUMENT_INVALID when a rule cannot be read.
 */
export async function openNetwork(
  policy: NetworkPolicy,
  options: NetworkOptions,
  signal: AbortSignal,
): Promise<Network> {
  signal.throwIfAborted();
  if (policy.mode === 'none') return new ClosedNetwork();
  const program = options.passt?.program ?? PASST_PROGRAM;
  await access(program, constants.X_OK).catch((cause: unknown) => {
    const remedy = 'install the package "passt", or run with the network mode "none"';
    throw fault('DRIVER_UNAVAILABLE', { reason: `${program} cannot be run`, remedy }, { cause });
  });
  return new PasstNetwork(policy, { ...options, program });
}

/** Mode `none`: the guest talks to nobody. */
class ClosedNetwork implements Network {
  readonly guest = undefined;
  readonly #use = new UseCounter();
  #qemu: Duplex | undefined;

  attach(qemu: Duplex): void {
    this.#qemu = qemu;
    const refuse = (): void => this.#use.refused('the network is off');
    const reader = new FrameReader(refuse, refuse);
    qemu.on('data', (chunk: Buffer) => reader.push(chunk));
    qemu.on('error', () => {});
  }

  use(): NetworkUse {
    return this.#use.snapshot();
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#qemu?.removeAllListeners('data').resume();
    return Promise.resolve();
  }
}

type Opened = NetworkOptions & { readonly program: string };

const HOST_PORT = /^(?:localhost|127\.0\.0\.1|\[::1\]):(\d{1,5})$/u;

/** A guest's own loopback is its own: what is excepted on the host's is found on the gateway. */
function onGateway(exception: string): string {
  return exception.replace(HOST_PORT, `${IP4.gateway}:$1`);
}

class PasstNetwork implements Network {
  readonly guest: GuestLink;
  readonly #options: Opened;
  readonly #families: Families;
  readonly #use = new UseCounter();
  readonly #filter: Filter;
  readonly #closing = new AbortController();
  /** Some port of the host's loopback is open to the guest. */
  readonly #hostLoopback: boolean;
  #passt: Passt | undefined;
  #retryAtMs = 0;

  constructor(policy: Exclude<NetworkPolicy, { mode: 'none' }>, options: Opened) {
    const { hostPorts = [], families = hostFamilies(), resolver = forwardingResolver() } = options;
    const exceptions = [...(options.exceptions ?? []), ...hostPorts.map((port) => `localhost:${port}`)];
    this.#options = options;
    this.#families = families;
    this.guest = guestLink(families.ip6);
    this.#hostLoopback = exceptions.some((exception) => HOST_PORT.test(exception));
    const reach = new Reach(policy, { exceptions: exceptions.map(onGateway) });
    const hosts = this.#hostLoopback ? [[HOST_NAME, addressOf(IP4.gateway)] as const] : [];
    const refused = (name: string): void => this.#use.refused(`dns ${name}`);
    const dns = new DnsServer({ resolver, reach, hosts: new Map(hosts), refused }, this.#closing.signal);
    this.#filter = new Filter({
      link: this.guest,
      reach,
      dns,
      use: this.#use,
      outside: () => this.#outside(),
      dial: dialHost,
    });
  }

  attach(qemu: Duplex): void {
    this.#filter.attach(qemu);
  }

  use(): NetworkUse {
    return this.#use.snapshot();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    this.#filter.detach();
    await this.#passt?.[Symbol.asyncDispose]();
  }

  #outside(): Duplex | undefined {
    if (this.#passt !== undefined) return this.#passt.stream;
    if (this.#closing.signal.aborted || performance.now() < this.#retryAtMs) return undefined;
    this.#retryAtMs = performance.now() + PASST_RETRY_MS;
    const { program, passt } = this.#options;
    const hostLoopback = this.#hostLoopback;
    try {
      const started = new Passt({ ...passt, program, families: this.#families, hostLoopback });
      this.#passt = started;
      void this.#replaceAfter(started);
      return started.stream;
    } catch (error) {
      // Out of processes or descriptors: the guest's packet is refused, the run goes on.
      this.#options.log?.(`passt cannot be started: ${String(error)}`);
      return undefined;
    }
  }

  async #replaceAfter(passt: Passt): Promise<void> {
    const { reason, refused } = await passt.exited;
    if (this.#closing.signal.aborted) return;
    if (refused) this.#retryAtMs = performance.now() + PASST_REFUSED_RETRY_MS;
    this.#passt = undefined;
    passt.stream.destroy();
    this.#options.log?.(`passt ended: ${reason}`);
  }
}
