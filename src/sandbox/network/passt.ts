import { spawn, type ChildProcess } from 'node:child_process';
import type { Duplex } from 'node:stream';
import { defined } from '../../std/assert.ts';
import { GATEWAY_MAC, IP4, IP6, MTU_BYTES, type Families } from './link.ts';

export interface PasstOptions {
  /** Absolute path of the program. */
  readonly program: string;
  /** Identity to run under; only root may choose one. */
  readonly uid?: number;
  readonly gid?: number;
  readonly families: Families;
  /** Whether the gateway's address stands for the host's loopback; what of it is reachable is the filter's decision. */
  readonly hostLoopback: boolean;
}

export interface PasstEnd {
  /** For the log. */
  readonly reason: string;
  /** It said that it cannot work here, so starting it again is of little use. */
  readonly refused: boolean;
}

const STDERR_BYTES_KEPT = 4_096;

/**
 * One `passt`: turns UDP and ICMP in Ethernet frames into sockets of the host, without privileges. It jails itself (user, mount, PID,
 * IPC and UTS namespaces, an empty root, seccomp), keeps the network namespace of the host because that is its purpose,
 * and ends when its socket closes, so that it cannot outlive even a killed engine.
 */
export class Passt implements AsyncDisposable {
  /** Frames with their length in front, both ways. May be written to at once: passt reads when it is ready. */
  readonly stream: Duplex;
  /** How it ended. Never rejects. */
  readonly exited: Promise<PasstEnd>;
  readonly #child: ChildProcess;

  constructor(options: PasstOptions) {
    const { program, uid, gid } = options;
    this.#child = spawn(program, passtArguments(options), {
      stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
      cwd: '/',
      env: {},
      ...(uid === undefined ? {} : { uid }),
      ...(gid === undefined ? {} : { gid }),
    });
    this.stream = defined(this.#child.stdio[3], 'the fourth descriptor is a socket') as Duplex;
    // Its end is told by `exited`.
    this.stream.on('error', () => {});
    this.exited = this.#watch();
  }

  async #watch(): Promise<PasstEnd> {
    let words = '';
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      words = (words + text).slice(-STDERR_BYTES_KEPT);
    });
    const { promise, resolve } = Promise.withResolvers<string>();
    let refused = false;
    this.#child.once('error', (error) => {
      refused = true;
      resolve(error.message);
    });
    this.#child.once('exit', (code, signal) => {
      refused = (code ?? 0) !== 0;
      resolve(`exit ${code ?? signal}`);
    });
    const how = await promise;
    const said = words.split('\n').filter((line) => line !== '' && !line.startsWith('Failed to send'));
    return { reason: [how, ...said.slice(-3)].join('; '), refused };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Nothing of it needs to be saved.
    this.#child.kill('SIGKILL');
    this.stream.destroy();
    await this.exited;
  }
}

function passtArguments({ families, hostLoopback }: PasstOptions): string[] {
  const v4 = families.ip4 || !families.ip6;
  // Where there is no way out at all, the ports of the host itself can still be reached.
  const offline = !families.ip4 && !families.ip6;
  const flags: readonly (readonly string[])[] = [
    ['--foreground', '--quiet', '--fd', '3'],
    // TCP is relayed by the filter; nothing comes in from the host; the guest is configured by the agent.
    ['--no-tcp', '--udp-ports', 'none'],
    ['--no-dhcp', '--no-dhcpv6', '--no-ndp', '--no-ra', '--dns', 'none', '--search', 'none'],
    hostLoopback ? [] : ['--no-map-gw'],
    offline ? ['--interface', 'lo'] : [],
    ['--mac-addr', GATEWAY_MAC, '--mtu', String(MTU_BYTES)],
    v4 ? ['--address', IP4.guest, '--netmask', IP4.netmask, '--gateway', IP4.gateway] : ['--ipv6-only'],
    families.ip6 ? ['--address', IP6.guest, '--gateway', IP6.gateway] : ['--ipv4-only'],
  ];
  return flags.flat();
}
