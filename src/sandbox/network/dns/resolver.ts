import { createSocket } from 'node:dgram';
import { getServers } from 'node:dns';
import { readFile } from 'node:fs/promises';
import { connect, isIPv6 } from 'node:net';
import { composeQuery } from './compose.ts';
import { isAnswerTo, type Query, RCODE } from './message.ts';
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

/** Milliseconds for one nameserver to answer; guests give up after 5,000 as a rule, so three have to fit into less. */
const ATTEMPT_MS = 1_500;
const NAMESERVERS_MAX = 3;
/** Time for which a nameserver that did not answer is asked after the others. */
const SILENCE_MS = 60_000;
const RESOLV_CONF = '/etc/resolv.conf';

/** The nameservers this host uses at this moment. */
export async function hostNameservers(): Promise<Nameserver[]> {
  const text = await readFile(RESOLV_CONF, 'utf8').catch(() => '');
  const named = [...text.matchAll(/^\s*nameserver\s+(\S+)/gmu)].map(([, address = '']) => address);
  const addresses =
    named.length > 0 ? named : getServers().map((server) => server.replace(/^\[?(.*?)\]?(?::\d+)?$/u, '$1'));
  return addresses.slice(0, NAMESERVERS_MAX).map((address) => ({ address, port: 53 }));
}

/** Nameservers that did not answer, by address and port, with the time (`performance.now`) until which they come last. */
type Silent = Map<string, number>;

/** Silent nameservers of this process, shared by its runs, which have the same ones. */
const silentHere: Silent = new Map();

/**
 * Forwards each question to the host's nameservers, one after the other, in a datagram from a port of its own (a forged
 * answer must guess port and id), and over TCP where the answer does not fit. As in glibc, a server that fails or refuses
 * is passed over, and its answer is the last resort; one that is silent is asked last from then on.
 */
export function forwardingResolver(
  nameservers: () => Promise<readonly Nameserver[]> = hostNameservers,
  silent: Silent = silentHere,
): Resolver {
  const isSilent = (nameserver: Nameserver): boolean => (silent.get(keyOf(nameserver)) ?? 0) > performance.now();
  return {
    async resolve(query, signal) {
      const named = await nameservers();
      let failure: Buffer | undefined;
      for (const nameserver of [...named.filter((one) => !isSilent(one)), ...named.filter(isSilent)]) {
        signal.throwIfAborted();
        const limit = AbortSignal.any([signal, AbortSignal.timeout(ATTEMPT_MS)]);
        const answer = await ask(query, nameserver, limit).catch(() => undefined);
        if (answer === undefined) silent.set(keyOf(nameserver), performance.now() + SILENCE_MS);
        else silent.delete(keyOf(nameserver));
        if (answer !== undefined && !isFailure(answer)) return answer;
        failure ??= answer;
      }
      signal.throwIfAborted();
      return failure;
    },
  };
}

function keyOf({ address, port }: Nameserver): string {
  return `${address} ${port}`;
}

/** Reports whether the server could not or would not answer, so that another one may. */
function isFailure(answer: Buffer): boolean {
  const rcode = answer.readUInt16BE(2) & 0x0f;
  return rcode === RCODE.failed || rcode === RCODE.notImplemented || rcode === RCODE.refused;
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
