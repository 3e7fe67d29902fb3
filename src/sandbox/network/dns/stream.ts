import { duplexPair, type Duplex } from 'node:stream';
import type { Far } from '../tcp/connection.ts';

/** A question over TCP: its length, then the message. Several may follow each other. */
const LENGTH_BYTES = 2;
const QUESTION_BYTES_MAX = 4_096;
/** Limit of answers that wait for the guest. */
const WAITING_BYTES_MAX = 256 * 1024;

/** The far end of a connection to the DNS port: speaks DNS over TCP (RFC 7766). */
export function dialDns(ask: (message: Buffer) => Promise<Buffer | undefined>): Far {
  const [stream, server] = duplexPair();
  let received: Buffer = Buffer.alloc(0);
  let asked = 0;
  let ended = false;
  const endWhenDone = (): void => {
    if (ended && asked === 0) server.end();
  };
  server.on('data', (chunk: Buffer) => {
    received = Buffer.concat([received, chunk]);
    for (let end = endOf(received); end <= received.length; end = endOf(received)) {
      asked += 1;
      void reply(server, ask, received.subarray(LENGTH_BYTES, end)).then(() => {
        asked -= 1;
        endWhenDone();
      });
      received = received.subarray(end);
    }
    if (received.length > LENGTH_BYTES + QUESTION_BYTES_MAX) server.destroy();
  });
  server.on('end', () => {
    ended = true;
    endWhenDone();
  });
  server.on('error', () => {});
  // A pair does not notify one half when the other is gone.
  server.on('close', () => stream.destroy());
  stream.on('close', () => server.destroy());
  return { stream, accepted: Promise.resolve() };
}

/** Returns the end of the first message; beyond the bytes while its length is not known. */
function endOf(bytes: Buffer): number {
  return bytes.length < LENGTH_BYTES ? Infinity : LENGTH_BYTES + bytes.readUInt16BE(0);
}

async function reply(
  server: Duplex,
  ask: (message: Buffer) => Promise<Buffer | undefined>,
  question: Buffer,
): Promise<void> {
  // It rejects only when the network is closing, and then no client is left.
  const answer = await ask(question).catch(() => undefined);
  if (server.destroyed) return;
  if (answer === undefined || server.writableLength > WAITING_BYTES_MAX) {
    server.destroy();
    return;
  }
  const length = Buffer.alloc(LENGTH_BYTES);
  length.writeUInt16BE(answer.length, 0);
  server.write(Buffer.concat([length, answer]));
}
