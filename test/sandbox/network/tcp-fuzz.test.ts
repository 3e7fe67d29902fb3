import assert from 'node:assert/strict';
import { duplexPair, type Duplex } from 'node:stream';
import { setImmediate, setTimeout as delay } from 'node:timers/promises';
import { test } from 'node:test';
import { TCP_FLAG } from '../../../src/sandbox/network/packet.ts';
import type { Far } from '../../../src/sandbox/network/tcp/connection.ts';
import { bench, PUBLIC, until, type Bench } from '../../support/network/bench.ts';
import { bytesAt, FlowJudge } from '../../support/network/flow.ts';
import type { Received } from '../../support/network/guest.ts';
import { Random } from '../../support/random.ts';

const { syn, ack, fin, rst, psh } = TCP_FLAG;
const PATIENCE_MS = 60_000;

/** A filter whose outgoing connections end in streams of the test. */
function dialling(): { readonly made: Bench; readonly streams: Duplex[]; readonly servers: Duplex[] } {
  const [streams, servers]: [Duplex[], Duplex[]] = [[], []];
  const dial = (): Far => {
    const [stream, server] = duplexPair({ highWaterMark: 4_096 });
    server.on('error', () => {});
    server.on('close', () => stream.destroy());
    streams.push(stream);
    servers.push(server);
    return { stream, accepted: Promise.resolve() };
  };
  return { made: bench({ dial }), streams, servers };
}

function content(random: Random, bytes: number): Buffer {
  return Buffer.from(Array.from({ length: bytes }, () => random.below(256)));
}

/**
 * A guest whose link loses, repeats and reorders segments in both directions, but which keeps to TCP: it resends from
 * the first unacknowledged byte, and acknowledges what it has.
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
    // Some of them wrap around in the process.
    this.#first = random.below(2) === 0 ? 0xffff_ff00 : random.below(2 ** 31);
  }

  /** Runs until both have sent and received everything. */
  async talk(): Promise<void> {
    const patience = AbortSignal.timeout(PATIENCE_MS);
    while (!this.#reset && !(this.#heardEnd && this.#acknowledged > this.#say.length)) {
      patience.throwIfAborted();
      this.#listen();
      this.#send();
      // Only real time makes the link idle now and then, so that answers overtake requests.
      await delay(this.#random.below(4));
    }
    // The last acknowledgement may get lost too: who resends is told that the connection is closed.
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
    await until(() => servers.length > 0);
    const [heard] = await Promise.all([answer(servers[0]!, random, reply), talked]);
    assert.ok(heard.equals(question), `seed ${index + 1}: the question`);
    assert.ok(Buffer.concat(guest.heard).equals(reply), `seed ${index + 1}: the answer`);
  });
  await Promise.all(talks);
});

/** A server of the hostile guest: writes the bytes of their positions, records what it has read. */
class Server {
  readonly #stream: Duplex;
  readonly #heard: Buffer[] = [];
  writtenBytes = 0;

  constructor(stream: Duplex) {
    this.#stream = stream;
    stream.on('data', (chunk: Buffer) => this.#heard.push(chunk)).pause();
  }

  get heard(): Buffer {
    return Buffer.concat(this.#heard);
  }

  act(random: Random): void {
    const deed = random.below(12);
    if (deed === 0 && !this.#stream.writableEnded) {
      const bytes = random.below(40_000);
      this.#stream.write(bytesAt(this.writtenBytes, bytes));
      this.writtenBytes += bytes;
    }
    if (deed === 1) this.#stream.end();
    if (deed === 2) this.#stream.destroy();
    if (deed === 3) this.#stream.resume();
  }
}

/**
 * Sends 600 segments near the connections of three ports; every answer is checked. Returns the number of checked bytes.
 */
async function attack(seed: number): Promise<{ readonly answered: number; readonly heard: number }> {
  const random = new Random(seed);
  const { made, streams, servers: far } = dialling();
  const { guest } = made;
  const ports = [2_000, 2_001, 2_002] as const;
  const judges = new Map<number, FlowJudge>(
    ports.map((port) => [port, new FlowJudge({ guest: guest.address, server: PUBLIC, port })]),
  );
  const servers: Server[] = [];
  const opened: number[] = [];
  let [sequence, acknowledgement] = [999, 0];
  const judge = (): void => {
    const writtenBytes = Math.max(0, ...servers.map((server) => server.writtenBytes));
    for (const received of (guest.heard() as Received[]).splice(0)) {
      const judging = judges.get(received.packet?.destinationPort ?? 0);
      assert.ok(judging, `seed ${seed}: an answer outside of every flow`);
      judging.judge(received, writtenBytes);
      if (received.packet === undefined) continue;
      acknowledgement = (received.frame.readUInt32BE(received.packet.transport + 4) + received.payload.length) >>> 0;
      sequence = received.frame.readUInt32BE(received.packet.transport + 8);
    }
  };
  for (let round = 0; round < 600; round += 1) {
    const near = (number: number): number => (number + random.pick([0, 0, 0, 1, -1, 500, -70_000, 2 ** 31])) >>> 0;
    const flags = random.pick([syn, ack, ack, ack, ack | psh, ack | fin, rst, syn | ack, 0, 0x3f]);
    const windowBytes = random.pick([0, 1, 700, 65_535]);
    const port = random.pick(ports);
    const numbers = { sequence: near(sequence), acknowledgement: near(acknowledgement) };
    const payload = bytesAt(numbers.sequence, random.pick([0, 0, 1, 1_000, 30_000]));
    if (flags === syn) opened.push(numbers.sequence);
    judges.get(port)?.say(flags, numbers.acknowledgement, windowBytes);
    guest.segment(PUBLIC, 80, { flags, ...numbers, windowBytes, payload }, port);
    if (flags === ack) sequence = (sequence + payload.length) >>> 0;
    for (const stream of far.slice(servers.length)) servers.push(new Server(stream));
    servers[random.below(servers.length)]?.act(random);
    if (round % 20 !== 0) continue;
    await guest.settled();
    judge();
  }
  await guest.settled();
  judge();
  made.detach();
  await until(() => streams.every(({ destroyed }) => destroyed));
  for (const stream of far) stream.resume();
  await until(() => far.every((stream) => stream.destroyed || stream.readableEnded));
  for (const [index, { heard }] of servers.entries()) {
    const whole = opened.some((first) => heard.equals(bytesAt(first + 1, heard.length)));
    assert.ok(whole, `seed ${seed}: server ${index} heard the guest's bytes once and in order`);
  }
  const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0);
  return {
    answered: sum([...judges.values()].map(({ payloadBytes }) => payloadBytes)),
    heard: sum(servers.map(({ heard }) => heard.length)),
  };
}

test('segments of any kind, near where the connection is, change no byte, exceed no window and leave nothing', async () => {
  let [answered, heard] = [0, 0];
  for (let seed = 1; seed <= 30; seed += 1) {
    const judged = await attack(seed);
    answered += judged.answered;
    heard += judged.heard;
  }
  assert.ok(answered > 100_000 && heard > 100_000, `${answered} and ${heard} bytes were judged`);
});
