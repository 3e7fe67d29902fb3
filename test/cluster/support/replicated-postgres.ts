import type { NetworkHost, TestNetwork } from './network.ts';
import { Postgres } from './postgres.ts';

/**
 * A PostgreSQL server with a synchronous standby, and an address that belongs to whichever serves, as a Kubernetes service or a
 * load balancer provides it.
 */
export class ReplicatedPostgres implements AsyncDisposable {
  readonly address: string;
  readonly #network: TestNetwork;
  #hosts: readonly [NetworkHost, NetworkHost];
  #primary: Postgres;
  #standby: Promise<Postgres>;

  private constructor(network: TestNetwork, hosts: readonly [NetworkHost, NetworkHost], primary: Postgres) {
    this.#network = network;
    this.address = network.floatingAddress;
    this.#hosts = hosts;
    this.#primary = primary;
    this.#standby = primary.standby(hosts[1]);
  }

  static async open(network: TestNetwork): Promise<ReplicatedPostgres> {
    const hosts = [await network.add(), await network.add()] as const;
    await network.move(hosts[0]);
    const primary = await Postgres.open({ durable: true, host: hosts[0] });
    await primary.database();
    const opened = new ReplicatedPostgres(network, hosts, primary);
    await opened.#standby;
    return opened;
  }

  /** The server that serves. */
  get primary(): Postgres {
    return this.#primary;
  }

  /** Kills the server as a power failure does, and lets the standby take over. It gets a standby of its own afterwards. */
  async failOver(): Promise<void> {
    const standby = await this.#standby;
    const killed = this.#primary;
    await killed.stop('immediate');
    await standby.promote();
    this.#hosts = [this.#hosts[1], this.#hosts[0]];
    await this.#network.move(this.#hosts[0]);
    this.#primary = standby;
    await killed[Symbol.asyncDispose]();
    this.#standby = standby.standby(this.#hosts[1]);
    // Told when it is needed.
    this.#standby.catch(() => undefined);
  }

  /** Restarts the server that serves as after a power failure. */
  async restart(whileAway: () => Promise<void>): Promise<void> {
    await this.#standby;
    await this.#primary.stop('immediate');
    await whileAway();
    await this.#primary.start();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const [standby] = await Promise.allSettled([this.#standby]);
    if (standby.status === 'fulfilled') await standby.value[Symbol.asyncDispose]();
    await this.#primary[Symbol.asyncDispose]();
  }
}
