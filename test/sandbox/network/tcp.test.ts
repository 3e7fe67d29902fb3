import assert from 'node:assert/strict';
import { duplexPair, Writable, type Duplex, type DuplexOptions } from 'node:stream';
import { setImmediate } from 'node:timers/promises';
import { test } from 'node:test';
import { TCP_FLAG } from '../../../src/sandbox/network/packet.ts';
import type { Far } from '../../../src/sandbox/network/tcp/connection.ts';
import { Inflow } from '../../../src/sandbox/network/tcp/inflow.ts';
import { readSynOptions } from '../../../src/sandbox/network/tcp/options.ts';
import { SendQueue } from '../../../src/sandbox/network/tcp/send-queue.ts';
import { bench, PUBLIC, until, type Bench } from '../../support/network/bench.ts';
import { checksumsAreRight, type Received } from '../../support/network/guest.ts';
import { MIB } from '../../support/memory.ts';
import { Random } from '../../support/random.ts';

interface Joined extends Bench {
  /** Remote ends of the guest's connections, in the order of their opening. */
  readonly servers: Duplex[];
}

function joined(options: DuplexOptions = {}): Joined {
  const servers: Duplex[] = [];
  const dial = (): Far => {
    const [stream, server] = duplexPair(options);
    server.on('error', () => {});
    server.on('close', () => stream.destroy());
    servers.push(server);
    return { stream, accepted: Promise.resolve() };
  };
  return { ...bench({ dial }), servers };
}

function numbers({ frame, packet }: Received): { sequence: number; acknowledgement: number; window: number } {
  const transport = packet?.transport ?? 0;
  return {
    sequence: frame.readUInt32BE(transport + 4),
    acknowledgement: frame.readUInt32BE(transport + 8),
    window: frame.readUInt16BE(transport + 14),
  };
}

/** Opens a connection with raw segments; sequence numbers of the guest start at 1,000. */
async function open({ guest }: Bench, windowBytes = 60_000): Promise<{ first: number; say: Say }> {
  const options = Buffer.from([2, 4, 0x3f, 0]);
  guest.segment(PUBLIC, 80, { flags: TCP_FLAG.syn, sequence: 999, windowBytes, options });
  const { sequence, acknowledgement } = numbers(await guest.next());
  assert.equal(acknowledgement, 1_000);
  const first = (sequence + 1) >>> 0;
  const say: Say = (segment) =>
    guest.segment(PUBLIC, 80, {
      flags: TCP_FLAG.ack,
      sequence: 1_000,
      acknowledgement: first,
      windowBytes,
      ...segment,
    });
  say({});
  return { first, say };
}

type Say = (segment: Parameters<Bench['guest']['segment']>[2]) => void;

async function collected(server: Duplex, bytes: number): Promise<string> {
  const chunks: Buffer[] = [];
  server.on('data', (chunk: Buffer) => chunks.push(chunk));
  await until(() => Buffer.concat(chunks).length >= bytes);
  return Buffer.concat(chunks).toString();
}

test('bytes go both ways, each side ends when it likes, and then nothing is left', async () => {
  const { guest, servers } = joined();
  const connection = await guest.connect(PUBLIC, 80);
  connection.write('question');
  connection.end();
  const [server] = servers;
  assert.ok(server);
  assert.equal(await collected(server, 8), 'question');
  await until(() => server.readableEnded);
  // The guest has closed its side; the answer still arrives completely.
  const answer = Buffer.alloc(1_000_000, 'answer');
  server.end(answer);
  assert.equal(Buffer.compare(await connection.read(), answer), 0);
  assert.ok(connection.ended);
  await until(() => server.destroyed);
  // The connection is closed: another segment of it is refused.
  connection.write('more');
  const { packet, frame } = await guest.next(({ packet }) => ((packet?.flags ?? 0) & TCP_FLAG.rst) !== 0);
  assert.ok(packet && checksumsAreRight(frame));
});

test('segments out of order, repeated or overlapping reach the other end once and in order', async () => {
  for (let seed = 1; seed <= 20; seed += 1) {
    const random = new Random(seed);
    const made = joined();
    const { say } = await open(made);
    const text = Array.from({ length: 2_000 }, (_, index) => String(index)).join(' ');
    const [server] = made.servers;
    assert.ok(server);
    const got = collected(server, text.length);
    let acknowledged = 0;
    for (let sent = 0; sent < text.length;) {
      // From any position up to a little beyond; segments beyond are dropped and sent again.
      const from = Math.max(0, sent - random.below(300) + (random.below(4) === 0 ? random.below(50) : 0));
      const end = Math.min(text.length, from + 1 + random.below(500));
      say({ sequence: 1_000 + from, payload: Buffer.from(text.slice(from, end)), flags: TCP_FLAG.ack });
      await made.guest.settled();
      for (let answer = made.guest.heard().length; answer > 0; answer -= 1) {
        const said = numbers(await made.guest.next()).acknowledgement - 1_000;
        assert.ok(said >= acknowledged, 'what was acknowledged stays so');
        acknowledged = said;
      }
      sent = acknowledged;
    }
    assert.equal(await got, text, `seed ${seed}`);
  }
});

test('a server that does not read closes the window, and reading opens it', async () => {
  const made = joined();
  const { say } = await open(made);
  let sent = 0;
  let window = 65_535;
  for (; sent < 2_000_000 && window > 0; sent += 10_000) {
    say({ sequence: 1_000 + sent, payload: Buffer.alloc(10_000) });
    window = numbers(await made.guest.next()).window;
  }
  assert.equal(window, 0);
  assert.ok(sent < 600_000, `${sent} bytes were taken`);
  const [server] = made.servers;
  assert.ok(server);
  let read = 0;
  server.on('data', (chunk: Buffer) => {
    read += chunk.length;
  });
  const opened = await made.guest.next((received) => numbers(received).window > 0);
  const { acknowledgement } = numbers(opened);
  await until(() => read === acknowledgement - 1_000);
});

test('a guest that does not read stops the server, and gets everything when it reads', async () => {
  const made = joined();
  const { first, say } = await open(made, 20_000);
  const [server] = made.servers;
  assert.ok(server);
  const content = Buffer.alloc(3_000_000);
  for (let at = 0; at < content.length; at += 4) content.writeUInt32BE(at, at);
  server.write(content);
  for (let turn = 0; turn < 50; turn += 1) await setImmediate();
  const under = made.guest.heard().reduce((sum, { payload }) => sum + payload.length, 0);
  assert.ok(under <= 20_000, `${under} bytes are under way`);
  const got: Buffer[] = [];
  let bytes = 0;
  while (bytes < content.length) {
    const { payload } = await made.guest.next();
    got.push(payload);
    bytes += payload.length;
    say({ acknowledgement: (first + bytes) >>> 0 });
  }
  assert.equal(Buffer.compare(Buffer.concat(got), content), 0);
});

test('what the guest lost is sent again, after three asks or some time', async () => {
  const made = joined();
  const { first, say } = await open(made);
  made.servers[0]?.write(Buffer.alloc(5_000, 7));
  const original = await made.guest.next();
  assert.equal(numbers(original).sequence, first);
  for (let ask = 0; ask < 3; ask += 1) say({});
  assert.equal(numbers(await made.guest.next()).sequence, first);
  const late = numbers(await made.guest.next());
  assert.equal(late.sequence, first, 'unasked, a second later');
  say({ acknowledgement: (first + 5_000) >>> 0 });
  await made.guest.settled();
});

test('a closed window is asked about until it opens', async () => {
  const made = joined();
  const { first, say } = await open(made, 1_000);
  made.servers[0]?.write(Buffer.alloc(3_000, 7));
  let bytes = 0;
  while (bytes < 1_000) bytes += (await made.guest.next()).payload.length;
  say({ acknowledgement: (first + 1_000) >>> 0, windowBytes: 0 });
  const probe = await made.guest.next();
  assert.deepEqual([numbers(probe).sequence, probe.payload.length], [(first + 999) >>> 0, 0]);
  say({ acknowledgement: (first + 1_000) >>> 0, windowBytes: 5_000 });
  while (bytes < 3_000) bytes += (await made.guest.next()).payload.length;
});

test('only a reset from the guest that knows where we are ends the other side', async () => {
  const made = joined();
  const { say } = await open(made);
  const [server] = made.servers;
  assert.ok(server);
  say({ flags: TCP_FLAG.rst, sequence: 5_000 });
  await made.guest.settled();
  assert.equal(server.destroyed, false);
  say({ flags: TCP_FLAG.rst });
  server.resume();
  await until(() => server.destroyed || server.readableEnded);
});

test('a keepalive is answered, a repeated SYN too, and a new one takes the place of the old', async () => {
  const made = joined();
  const { first, say } = await open(made);
  say({ sequence: 999 });
  assert.deepEqual(numbers(await made.guest.next()).acknowledgement, 1_000);
  made.guest.segment(PUBLIC, 80, { flags: TCP_FLAG.syn, sequence: 999 });
  const again = await made.guest.next();
  assert.deepEqual([again.packet?.flags, numbers(again).sequence], [TCP_FLAG.syn | TCP_FLAG.ack, (first - 1) >>> 0]);
  made.guest.segment(PUBLIC, 80, { flags: TCP_FLAG.syn, sequence: 77_000 });
  assert.equal(numbers(await made.guest.next()).acknowledgement, 77_001);
  assert.equal(made.servers.length, 2);
});

test('a reset that does not know where we are is asked again, and a guest that means it says so', async () => {
  const made = joined();
  const { say } = await open(made);
  const [server] = made.servers;
  assert.ok(server);
  say({ flags: TCP_FLAG.rst, sequence: 9_000 });
  const asked = numbers(await made.guest.next());
  assert.equal(asked.acknowledgement, 1_000);
  say({ flags: TCP_FLAG.rst, sequence: asked.acknowledgement });
  server.resume();
  await until(() => server.destroyed || server.readableEnded);
});

test('a guest that goes on talking to a server that has gone is told so', async () => {
  const made = joined();
  const { say } = await open(made);
  const [server] = made.servers;
  assert.ok(server);
  server.end('bye');
  assert.equal((await made.guest.next(({ payload }) => payload.length > 0)).payload.toString(), 'bye');
  server.destroy();
  await until(() => server.destroyed);
  await setImmediate();
  say({ payload: Buffer.from('still there?') });
  const { packet } = await made.guest.next((heard) => ((heard.packet?.flags ?? 0) & TCP_FLAG.rst) !== 0);
  assert.equal(packet?.destinationPort, 40_000);
});

test('single bytes for a server that does not read are not taken without end', async () => {
  const made = joined({ highWaterMark: 1 });
  const { say } = await open(made);
  let sent = 0;
  for (let window = 1; window > 0 && sent < 10_000; sent += 1) {
    say({ sequence: 1_000 + sent, payload: Buffer.alloc(1) });
    window = numbers(await made.guest.next()).window;
  }
  assert.ok(sent < 600, `${sent} pieces`);
});

test('a piece that waits does not keep all that came with it', () => {
  const kept: Buffer[] = [];
  const write = (chunk: Buffer, _encoding: string, done: () => void): void => {
    kept.push(chunk);
    done();
  };
  let taken = 0;
  const inflow = new Inflow(new Writable({ write }), () => {
    taken += 1;
  });
  const chunk = Buffer.alloc(60_000, 1);
  inflow.write(chunk.subarray(5, 6));
  inflow.write(chunk.subarray(0, 40_000));
  assert.notEqual(kept[0]?.buffer, chunk.buffer);
  assert.equal(kept[1]?.buffer, chunk.buffer, 'what is most of it is not copied');
  assert.deepEqual([kept[0]?.length, inflow.heldBytes, taken], [1, 40_512, 0], 'told later');
});

test('connections are bounded, also those of which only the flushing is left', async () => {
  const made = joined();
  for (let port = 1; port <= 512; port += 1) made.guest.segment(PUBLIC, 80, { flags: TCP_FLAG.syn }, port);
  await made.guest.settled();
  await assert.rejects(made.guest.connect(PUBLIC, 80, 2_000), /refused/u);
  assert.equal(made.servers.length, 512);

  const other = joined();
  for (let port = 1; port <= 600; port += 1) {
    const connection = await other.guest.connect(PUBLIC, 80, port).catch(() => undefined);
    if (connection === undefined) continue;
    // The server has sent everything and reads nothing: the guest's data waits forever.
    other.servers.at(-1)?.end();
    connection.write(Buffer.alloc(60_000));
    connection.end();
    await connection.read();
  }
  assert.equal(other.servers.length, 512);
});

test('the more connections there are, the less each of them may hold', async () => {
  const made = joined();
  let held = 0;
  for (let port = 1; port <= 512; port += 1) {
    const connection = await made.guest.connect(PUBLIC, 80, port);
    held += await fill(connection);
  }
  assert.ok(held < 100 * MIB, `${(held / MIB).toFixed()} MiB wait for servers that do not read`);
});

/** Writes until nothing more is acknowledged; returns the number of acknowledged bytes. */
async function fill(connection: Awaited<ReturnType<Bench['guest']['connect']>>): Promise<number> {
  let taken = 0;
  for (const segment = Buffer.alloc(32_000); ; taken += segment.length) {
    connection.write(segment);
    if ((await connection.acknowledged()) < taken + segment.length) return taken;
  }
}

test('connections of a guest that reads slowly take turns', async () => {
  const made = joined();
  const connections = await Promise.all([1, 2, 3].map((port) => made.guest.connect(PUBLIC, 80, port)));
  const got = [0, 0, 0];
  for (const server of made.servers) server.write(Buffer.alloc(2_000_000));
  const readers = connections.map(async (connection, index) => {
    while ((got[index] ?? 0) < 2_000_000) {
      got[index] = (got[index] ?? 0) + (await connection.read(1)).length;
      if (Math.min(...got) > 500_000) return;
    }
  });
  await Promise.race(readers);
  assert.ok(Math.min(...got) > 400_000, got.join(' '));
});

test('SendQueue gives back what was put in, however it is cut', () => {
  for (let seed = 1; seed <= 200; seed += 1) {
    const random = new Random(seed);
    const queue = new SendQueue();
    const put: number[] = [];
    const got: number[] = [];
    let next = 0;
    for (let step = 0; step < 200; step += 1) {
      if (random.below(2) === 0) {
        const chunk = Buffer.from(Array.from({ length: random.below(20) }, () => (next += 1) & 255));
        put.push(...chunk);
        queue.push(chunk);
      } else {
        const bytes = queue.peek(0, random.below(15));
        got.push(...bytes);
        queue.drop(bytes.length);
      }
      const offset = random.below(queue.bytes + 1);
      const peeked = queue.peek(offset, 3);
      const at = got.length + offset;
      assert.deepEqual([...peeked], put.slice(at, at + peeked.length), `seed ${seed}`);
      assert.ok(peeked.length > 0 || offset >= queue.bytes);
    }
  }
});

test('the options of a SYN are read within their bounds', () => {
  const read = (...bytes: readonly number[]): unknown => readSynOptions(Buffer.from(bytes));
  assert.deepEqual(read(2, 4, 0x05, 0xb4, 1, 3, 3, 7), { segmentBytes: 1_460, shift: 7 });
  assert.deepEqual(read(), { segmentBytes: 536, shift: undefined });
  assert.deepEqual(read(2, 4, 0, 1), { segmentBytes: 536, shift: undefined }, 'crumbs');
  assert.deepEqual(read(3, 3, 200), { segmentBytes: 536, shift: 14 });
  assert.deepEqual(read(2, 4, 5), { segmentBytes: 536, shift: undefined }, 'cut off');
  assert.deepEqual(read(9, 0, 3, 3, 7), { segmentBytes: 536, shift: undefined }, 'no length');
});
