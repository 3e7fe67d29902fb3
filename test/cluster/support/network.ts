import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { defined } from '../../../src/std/assert.ts';
import { command } from '../../../scripts/support/command.ts';

const SUBNET = '10.213.7';
const FLOATING = `${SUBNET}.200`;
/** Hardware address that nothing has: what is sent to it is lost without an answer, as on a network that is cut. */
const NOWHERE = '02:00:00:ff:ff:ff';

/**
 * A network of a test: hosts with addresses of their own on one switch, each a network namespace. Connections between two of
 * them can be cut, so that packets are lost without an answer. The namespaces end with the process that opened them, and so
 * with this one: their standard input closes. Needs root.
 */
export class TestNetwork implements AsyncDisposable {
  readonly #switch: Namespace;
  readonly #hosts: NetworkHost[] = [];
  #floating: NetworkHost | undefined;

  private constructor(namespace: Namespace) {
    this.#switch = namespace;
  }

  static async open(): Promise<TestNetwork> {
    if (process.getuid?.() !== 0) throw new Error('tests with network namespaces run as root');
    const network = new TestNetwork(await Namespace.open());
    await network.#switch.ip('link', 'add', 'switch', 'type', 'bridge');
    await network.#switch.ip('link', 'set', 'switch', 'up');
    return network;
  }

  /** Adds a host, with the next address. */
  async add(): Promise<NetworkHost> {
    const number = this.#hosts.length + 1;
    const namespace = await Namespace.open();
    const [port, mac] = [`port${number}`, macOf(number)];
    await this.#switch.ip('link', 'add', port, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', String(namespace.pid));
    await this.#switch.ip('link', 'set', port, 'master', 'switch', 'up');
    await namespace.ip('link', 'set', 'lo', 'up');
    await namespace.ip('link', 'set', 'eth0', 'address', mac, 'up');
    const host = new NetworkHost(namespace, `${SUBNET}.${number}`, mac);
    await namespace.ip('address', 'add', `${host.address}/24`, 'dev', 'eth0');
    this.#hosts.push(host);
    if (this.#floating !== undefined) await this.healFloating(host);
    return host;
  }

  /** Loses what the two send each other, from now on. */
  async cut(one: NetworkHost, other: NetworkHost): Promise<void> {
    await Promise.all([one.find(other.address, NOWHERE), other.find(one.address, NOWHERE)]);
  }

  async heal(one: NetworkHost, other: NetworkHost): Promise<void> {
    await Promise.all([one.find(other.address, other.mac), other.find(one.address, one.mac)]);
  }

  /** Gives the floating address to one host, as a load balancer or a Kubernetes service does. */
  async move(to: NetworkHost): Promise<void> {
    for (const host of this.#hosts) await host.lacks(FLOATING);
    await to.has(FLOATING);
    this.#floating = to;
    for (const host of this.#hosts) if (host !== to) await host.find(FLOATING, to.mac);
  }

  /** Address that one of the hosts has, after `move`. */
  get floatingAddress(): string {
    return FLOATING;
  }

  /** Loses what a host sends to the floating address, from now on. */
  async cutFloating(host: NetworkHost): Promise<void> {
    await host.find(FLOATING, NOWHERE);
  }

  async healFloating(host: NetworkHost): Promise<void> {
    await host.find(FLOATING, defined(this.#floating, 'a host has the floating address').mac);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#hosts, this.#switch].map((one) => one[Symbol.asyncDispose]()));
  }
}

/** A host of a test's network. */
export class NetworkHost implements AsyncDisposable {
  readonly address: string;
  readonly mac: string;
  readonly #namespace: Namespace;

  constructor(namespace: Namespace, address: string, mac: string) {
    this.#namespace = namespace;
    this.address = address;
    this.mac = mac;
  }

  /** Returns the command that runs another one on this host, at most as long as this process. */
  command(program: string, args: readonly string[]): [string, string[]] {
    const inside = ['nsenter', `--net=/proc/${this.#namespace.pid}/ns/net`, '--', program, ...args];
    return ['setpriv', ['--pdeathsig=KILL', '--', ...inside]];
  }

  /** Reports whether something on this host listens on a port of its address. */
  async accepts(port: number): Promise<boolean> {
    const listening = await readFile(`/proc/${this.#namespace.pid}/net/tcp`, 'utf8');
    // Local address and state LISTEN (0A), in the kernel's format (proc(5)).
    return new RegExp(`: [0-9A-F]{8}:${port.toString(16).toUpperCase().padStart(4, '0')} \\S+ 0A`, 'u').test(listening);
  }

  /** Sets where this host finds an address. */
  async find(address: string, mac: string): Promise<void> {
    await this.#namespace.ip('neighbour', 'replace', address, 'lladdr', mac, 'dev', 'eth0', 'nud', 'permanent');
  }

  async has(address: string): Promise<void> {
    await this.#namespace.ip('address', 'add', `${address}/24`, 'dev', 'eth0');
  }

  async lacks(address: string): Promise<void> {
    // It may never have had it.
    await this.#namespace.ip('address', 'delete', `${address}/24`, 'dev', 'eth0').catch(() => undefined);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#namespace[Symbol.asyncDispose]();
  }
}

/** A network namespace, held by a process that ends with this one. */
class Namespace implements AsyncDisposable {
  readonly pid: number;
  readonly #process: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#process = child;
    this.pid = defined(child.pid, 'the process was started');
  }

  static async open(): Promise<Namespace> {
    const child = spawn('unshare', ['--net', '--', 'sh', '-c', 'echo ready; exec cat'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    await once(child.stdout, 'data');
    return new Namespace(child);
  }

  async ip(...args: readonly string[]): Promise<void> {
    await command('nsenter', [`--net=/proc/${this.pid}/ns/net`, '--', 'ip', ...args]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = once(this.#process, 'exit');
    this.#process.kill('SIGKILL');
    await ended;
  }
}

function macOf(number: number): string {
  return `02:00:00:00:00:${number.toString(16).padStart(2, '0')}`;
}
