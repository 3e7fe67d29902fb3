import { createSocket } from 'node:dgram';
import { getServers } from 'node:dns';
import { readFile } from 'node:fs/promises';
import { connect, isIPv6 } from 'node:net';
import { composeQuery } from './compose.ts';
import { isAnswerTo, type Query } from './message.ts';
import { untilAborted } from '../../../std/abort.ts';

/** Resolver that asks the network outside. */
export interface Resolver {
  /** Returns the unchanged answer to `query`, or undefined when none came in time. Rejects with the signal's reason. */
  resolve(query: Query, signal: AbortSignal): Promise<Buffer | undefined>;
}

export interface Nameserver {
  readonly address: string;
  readonly port: number;
}

/** Milliseconds for one nameserver to answer; guests give up after 5,000 as a rule. */
const ATTEMPT_MS = 2_000;
const NAMESERVERS_MAX = 3;
const RESOLV_CONF = '/etc/resolv.conf';

/** The nameservers this host uses at this moment. */
export async function hostNameservers(): Promise<Nameserver[]> {
  const text = await readFile(RESOLV_CONF, 'utf8').catch(() => '');
  const named = [...text.matchAll(/^\s*nameserver\s+(\S+)/gmu)].map(([, address = '']) => address);
  const addresses =
    named.length > 0 ? named : getServers().map((server) => server.replace(/^\[?(.*?)\]?(?::\d+)?$/u, '$1'));
  return addresses.slice(0, NAMESERVERS_MAX).map((address) => ({ address, port: 53 }));
}

/**
 * Forwards each question to the host's nameservers, one after the other, in a datagram from a port of its own (a forged
 * answer must guess port and id), and over TCP where the answer does not fit.
 */
export function forwardingResolver(nameservers: () => Promise<readonly Nameserver[]> = hostNameservers): Resolver {
  return {
    async resolve(query, signal) {
      for (const nameserver of await nameservers()) {
        signal.throwIfAborted();
        const limit = AbortSignal.any([signal, AbortSignal.timeout(ATTEMPT_MS)]);
        const answer = await ask(query, nameserver, limit).catch(() => undefined);
        if (answer !== undefined) return answer;
      }
      signal.throwIfAborted();
      return undefined;
    },
  };
}

async function ask(query: Query, nameserver: Nameserver, signal: AbortSignal): Promise<Buffer> {
  const { id, message } = composeQuery(query);
  const datagram = await askUdp(message, nameserver, (answer) => isAnswerTo(answer, query, id), signal);
  const truncated = (datagram.readUInt16BE(2) & 0x0200) !== 0;
  if (!truncated) return datagram;
  const answer = await askTcp(message, nameserver, signal);
  if (!isAnswerTo(answer, query, id)) throw new Error('the answer is to another question');
  return answer;
}

async function askUdp(
  message: Buffer,
  { address, port }: Nameserver,
  isAnswer: (answer: Buffer) => boolean,
  signal: AbortSignal,
): Promise<Buffer> {
  const socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4');
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  try {
    socket.on('error', reject);
    socket.on('message', (answer) => (isAnswer(answer) ? resolve(answer) : undefined));
    // Connected, so that the kernel drops what others send and reports when nothing listens.
    socket.connect(port, address, () => socket.send(message));
    return await untilAborted(promise, signal);
  } finally {
    socket.close();
  }
}

async function askTcp(message: Buffer, { address, port }: Nameserver, signal: AbortSignal): Promise<Buffer> {
  const socket = connect({ host: address, port, signal, noDelay: true });
  try {
    const length = Buffer.alloc(2);
    length.writeUInt16BE(message.length, 0);
    socket.write(Buffer.concat([length, message]));
    const received: Buffer[] = [];
    for await (const chunk of socket) {
      received.push(chunk as Buffer);
      const bytes = Buffer.concat(received);
      if (bytes.length >= 2 && bytes.length >= 2 + bytes.readUInt16BE(0))
        return bytes.subarray(2, 2 + bytes.readUInt16BE(0));
    }
    throw new Error('the connection ended before the answer did');
  } finally {
    socket.destroy();
  }
}
