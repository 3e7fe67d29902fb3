import assert from 'node:assert/strict';
import { duplexPair, type Duplex } from 'node:stream';
import { setImmediate, setTimeout as delay } from 'node:timers/promises';
import { test } from 'node:test';
import { TCP_FLAG } from '../../../src/sandbox/network/packet.ts';
import type { Far } from '../../../src/sandbox/network/tcp/connection.ts';
import { bench, PUBLIC, type Bench } from '../../support/network/bench.ts';
import type { Received } from '../../support/network/guest.ts';
import { Random } from '../../support/random.ts';

const { syn, ack, fin, rst, psh } = TCP_FLAG;
const PATIENCE_MS = 60_000;

/** A filter whose dialled connections end in streams that the test holds. */
function dialling(): { readonly made: Bench; readonly servers: Duplex[] } {
  const servers: Duplex[] = [];
  const dial = (): Far => {
    const [stream, server] = duplexPair({ highWaterMark: 4_096 });
    server.on('error', () => {});
    server.on('close', () => stream.destroy());
    servers.push(server);
    return { stream, accepted: Promise.resolve() };
  };
  return { made: bench({ dial }), servers };
}

function content(random: Random, bytes: number): Buffer {
  return Buffer.from(Array.from({ length: bytes }, () => random.below(256)));
}

/**
 * A guest that loses, repeats and reorders segments in both directions, but keeps to TCP: it sends again from the first
 * byte that was not acknowledged, and acknowledges what it has.
 */
class LossyGuest {
  readonly #made: Bench;
  readonly #random: Random;
  readonly #say: Buffer;
  readonly #first: number;
  #acknowledged = 0;
  #window = 1_000;
  #receiveNext: number | undefined;
  readonly heard: Buffer[] = [];
  #heardEnd = false;
  #reset = false;

  constructor(made: Bench, random: Random, say: Buffer) {
    this.#made = made;
    this.#random = random;
    this.#say = say;
    // Some of them wrap around while it goes on.
    this.#first = random.below(2) === 0 ? 0xffff_ff00 : random.below(2 ** 31);
  }

  /** Until both have said and heard all. */
  async talk(): Promise<void> {
    const patience = AbortSignal.timeout(PATIENCE_MS);
    while (!this.#reset && !(this.#heardEnd && this.#acknowledged > this.#say.length)) {
      patience.throwIfAborted();
      this.#listen();
      this.#send();
      await delay(this.#random.below(4));
    }
    // The last acknowledgement may get lost, too: who asks again is told that there is nothing any more.
    assert.ok(!this.#reset || this.#heardEnd, 'nothing was wrong');
  }

  #listen(): void {
    const { guest } = this.#made;
    for (const received of (guest.heard() as Received[]).splice(0)) {
      for (let times = this.#random.pick([0, 1, 1, 1, 1, 2]); times > 0; times -= 1) this.#take(received);
    }
  }

  #take({ frame, packet, payload }: Received): void {
    if (packet === undefined) return;
    const { transport, flags } = packet;
    this.#reset ||= (flags & rst) !== 0;
    const sequence = frame.readUInt32BE(transport + 4);
    if ((flags & syn) !== 0) this.#receiveNext ??= (sequence + 1) >>> 0;
    this.#acknowledged = Math.max(this.#acknowledged, (frame.readUInt32BE(transport + 8) - this.#first - 1) | 0);
    this.#window = frame.readUInt16BE(transport + 14);
    if ((flags & syn) !== 0 || this.#receiveNext === undefined) return;
    const known = (this.#receiveNext - sequence) | 0;
    if (known < 0 || known > payload.length) return;
    this.heard.push(payload.subarray(known));
    const ends = (flags & fin) !== 0 && !this.#heardEnd;
    this.#receiveNext = (sequence + payload.length + (ends || this.#heardEnd ? 1 : 0)) >>> 0;
    this.#heardEnd ||= ends;
  }

  #send(): void {
    if (this.#receiveNext === undefined) return this.#segment({ flags: syn, at: -1 });
    const total = this.#say.length;
    let at = this.#acknowledged;
    for (let count = this.#random.below(4); count >= 0; count -= 1) {
      const end = Math.min(total, at + 1 + this.#random.below(3_000), this.#acknowledged + this.#window);
      const payload = this.#say.subarray(Math.min(at, total), Math.max(at, end));
      this.#segment({ flags: ack | psh | (end === total ? fin : 0), at: Math.min(at, total), payload });
      at = end;
    }
    if (this.#acknowledged > total) this.#segment({ flags: ack, at: total + 1 });
  }

  #segment({ flags, at, payload }: { readonly flags: number; readonly at: number; readonly payload?: Buffer }): void {
    if (this.#random.below(6) === 0) return;
    const sequence = (this.#first + 1 + at) >>> 0;
    const acknowledgement = this.#receiveNext ?? 0;
    const windowBytes = 500 + this.#random.below(5_000);
    const options = flags === syn ? { options: Buffer.from([2, 4, 8, 0]) } : {};
    const segment = { flags, sequence, acknowledgement, windowBytes, ...options, ...(payload && { payload }) };
    for (let times = this.#random.pick([1, 1, 1, 2]); times > 0; times -= 1)
      this.#made.guest.segment(PUBLIC, 80, segment);
  }
}

async function answer(server: Duplex, random: Random, say: Buffer): Promise<Buffer> {
  const heard: Buffer[] = [];
  server.on('data', (chunk: Buffer) => heard.push(chunk));
  const ended = new Promise((resolve) => {
    server.once('end', resolve);
  });
  for (let at = 0; at < say.length;) {
    const end = at + 1 + random.below(4_000);
    server.write(say.subarray(at, end));
    at = end;
    await setImmediate();
  }
  server.end();
  await ended;
  return Buffer.concat(heard);
}

test('whatever a link loses, repeats and reorders, both sides get every byte once and in order, and the end', async () => {
  const talks = Array.from({ length: 24 }, async (_, index) => {
    const { made, servers } = dialling();
    const random = new Random(index + 1);
    const [question, reply] = [content(random, random.below(20_000)), content(random, random.below(20_000))];
    const guest = new LossyGuest(made, random, question);
    const talked = guest.talk();
    const patience = AbortSignal.timeout(PATIENCE_MS);
    while (servers.length === 0) await delay(1, undefined, { signal: patience });
    const [heard] = await Promise.all([answer(servers[0]!, random, reply), talked]);
    assert.ok(heard.equals(question), `seed ${index + 1}: the question`);
    assert.ok(Buffer.concat(guest.heard).equals(reply), `seed ${index + 1}: the answer`);
  });
  await Promise.all(talks);
});

test('segments of any kind, near where the connection is, break nothing and leave nothing', async () => {
  for (let seed = 1; seed <= 30; seed += 1) {
    const random = new Random(seed);
    const { made, servers } = dialling();
    const { guest } = made;
    let [sequence, acknowledgement] = [999, 0];
    for (let round = 0; round < 600; round += 1) {
      const near = (number: number): number => (number + random.pick([0, 0, 0, 1, -1, 500, -70_000, 2 ** 31])) >>> 0;
      const flags = random.pick([syn, ack, ack, ack, ack | psh, ack | fin, rst, syn | ack, 0, 0x3f]);
      const payload = Buffer.alloc(random.pick([0, 0, 1, 1_000, 30_000]));
      const windowBytes = random.pick([0, 1, 700, 65_535]);
      const port = 2_000 + random.below(3);
      guest.segment(
        PUBLIC,
        80,
        { flags, sequence: near(sequence), acknowledgement: near(acknowledgement), windowBytes, payload },
        port,
      );
      if (flags === ack) sequence = (sequence + payload.length) >>> 0;
      const server = servers[random.below(servers.length)];
      const deed = random.below(12);
      if (server !== undefined && deed === 0 && !server.writableEnded) server.write(Buffer.alloc(random.below(40_000)));
      if (server !== undefined && deed === 1) server.end();
      if (server !== undefined && deed === 2) server.destroy();
      if (server !== undefined && deed === 3) server.resume();
      if (round % 20 === 0) await guest.settled();
      const last = guest.heard().at(-1);
      if (last?.packet !== undefined && last.frame.length >= last.packet.transport + 12) {
        acknowledgement = (last.frame.readUInt32BE(last.packet.transport + 4) + last.payload.length) >>> 0;
        sequence = last.frame.readUInt32BE(last.packet.transport + 8);
      }
      (guest.heard() as Received[]).splice(0);
    }
    made.detach();
    for (const server of servers) server.resume();
    const patience = AbortSignal.timeout(5_000);
    while (servers.some((server) => !server.destroyed && !server.readableEnded)) {
      patience.throwIfAborted();
      await setImmediate();
    }
  }
});
