import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { isFault } from '../../src/contract/errors.ts';
import { readBlob } from '../../src/registry/blob.ts';
import { RegistryClient } from '../../src/registry/client.ts';
import { digestOf } from '../../src/registry/digest.ts';
import { fuzzRounds, Random } from '../support/random.ts';
import { type RawAnswer, RawServer } from '../support/servers/raw-server.ts';

const BYTES = randomBytes(1_500_000);
const DIGEST = digestOf(BYTES);
const OK = 'HTTP/1.1 200 OK\r\n';
const LENGTH = `Content-Length: ${BYTES.length}\r\n`;
const CHUNKED = 'Transfer-Encoding: chunked\r\n';

/** Sends raw bytes and ends the connection. */
function ending(...parts: readonly (string | Uint8Array)[]): RawAnswer {
  return (socket) => socket.end(Buffer.concat(parts.map((part) => Buffer.from(part))));
}

/** Sends raw bytes and resets the connection. */
function resetting(...parts: readonly (string | Uint8Array)[]): RawAnswer {
  return (socket) =>
    socket.write(Buffer.concat(parts.map((part) => Buffer.from(part))), () => socket.resetAndDestroy());
}

function chunk(bytes: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from('\r\n')]);
}

/** The correct answer to a request, with its range. */
const correct: RawAnswer = (socket, head) => {
  const offset = Number(/range: bytes=(\d+)-/iu.exec(head)?.[1] ?? 0);
  const rest = BYTES.subarray(offset);
  const status =
    offset === 0
      ? OK
      : `HTTP/1.1 206 Partial\r\nContent-Range: bytes ${offset}-${BYTES.length - 1}/${BYTES.length}\r\n`;
  socket.write(Buffer.concat([Buffer.from(`${status}Content-Length: ${rest.length}\r\n\r\n`), rest]));
};

/** Reads the blob; a slow reader lets the event loop turn between chunks, so that the connection is paused at times. */
async function blobFrom(server: RawServer, { slow }: { readonly slow: boolean }): Promise<Buffer> {
  await using client = new RegistryClient(server.host, { wait: async () => undefined }, async () => undefined);
  const chunks: Uint8Array[] = [];
  const source = { client, repository: 'team/app', digest: DIGEST, bytes: BYTES.length };
  for await (const part of readBlob(source, AbortSignal.timeout(60_000))) {
    chunks.push(part);
    if (slow) for (let turns = 0; turns < 5; turns++) await turn();
  }
  return Buffer.concat(chunks);
}

const WHOLE: Readonly<Record<string, RawAnswer>> = {
  'no length (I1)': ending(OK, '\r\n', BYTES),
  'no length, said to be the last': ending(OK, 'Connection: close\r\n\r\n', BYTES),
  'HTTP/1.0': ending('HTTP/1.0 200 OK\r\n\r\n', BYTES),
  'HTTP/1.0 that promises to go on': ending('HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n', BYTES),
  'a length and the end': ending(OK, LENGTH, '\r\n', BYTES),
  'a length and a reset': resetting(OK, LENGTH, '\r\n', BYTES),
  'one chunk': ending(OK, CHUNKED, '\r\n', chunk(BYTES), '0\r\n\r\n'),
  'chunks with trailers': ending(OK, CHUNKED, 'Trailer: X-Sum\r\n\r\n', chunk(BYTES), '0\r\nX-Sum: 1\r\n\r\n'),
  'chunks with extensions': ending(
    OK,
    CHUNKED,
    '\r\n',
    '5;a=b\r\n',
    BYTES.subarray(0, 5),
    '\r\n',
    chunk(BYTES.subarray(5)),
    '0\r\n\r\n',
  ),
};

for (const [name, answer] of Object.entries(WHOLE)) {
  test(`a blob arrives whole, however its answer ends: ${name}`, async () => {
    for (const slow of [false, true]) {
      // A reset may discard what was sent, so the rest may be asked for again.
      await using server = await RawServer.start(answer, correct);
      assert.ok(BYTES.equals(await blobFrom(server, { slow })));
    }
  });
}

const half = BYTES.subarray(0, 700_000);
const BROKEN: Readonly<Record<string, RawAnswer>> = {
  'no length, cut': ending(OK, '\r\n', half),
  'no length, reset': resetting(OK, '\r\n', half),
  'a length, cut': ending(OK, LENGTH, '\r\n', half),
  'a length, cut, said to be the last': ending(OK, LENGTH, 'Connection: close\r\n\r\n', half),
  'chunks without the last': ending(OK, CHUNKED, '\r\n', chunk(half)),
  'chunks without the last, said to be': ending(OK, CHUNKED, 'Connection: close\r\n\r\n', chunk(half)),
  'chunks, reset': resetting(OK, CHUNKED, '\r\n', chunk(half)),
  'half a chunk': ending(OK, CHUNKED, '\r\n', `${BYTES.length.toString(16)}\r\n`, half),
  'no answer at all': ending(''),
  'half a status line': ending('HTTP/1.1 20'),
  'half a header': ending(OK, 'Content-Le'),
};

for (const [name, answer] of Object.entries(BROKEN)) {
  test(`a transfer that breaks is resumed: ${name}`, async () => {
    for (const slow of [false, true]) {
      await using server = await RawServer.start(answer, correct);
      assert.ok(BYTES.equals(await blobFrom(server, { slow })));
      assert.equal(server.heads.length, 2);
    }
  });
}

test('answers that end anywhere give the blob or a fault, and never an error that nothing catches', async (t) => {
  const seed = 20_261_130;
  t.diagnostic(`seed ${seed}`);
  const random = new Random(seed);
  const heads: readonly [string, ...string[]] = [
    OK,
    `${OK}${LENGTH}`,
    `${OK}${CHUNKED}`,
    'HTTP/1.0 200 OK\r\n',
    `${OK}Content-Length: 7\r\n`,
  ];
  for (let round = 0; round < fuzzRounds(60); round += 1) {
    const head = `${random.pick(heads)}${random.pick(['', 'Connection: close\r\n', 'Upgrade: h2c\r\n'])}\r\n`;
    const body = head.includes(CHUNKED) ? Buffer.concat([chunk(BYTES), Buffer.from('0\r\n\r\n')]) : BYTES;
    const all = Buffer.concat([Buffer.from(head), body]);
    const sent = all.subarray(0, random.below(random.pick([40, all.length])) + 1);
    const broken = random.pick([ending, resetting])(sent);
    await using server = await RawServer.start(broken, random.pick([correct, broken]));
    const result = await blobFrom(server, { slow: random.below(2) === 0 }).catch((error: unknown) => error);
    if (Buffer.isBuffer(result)) assert.ok(BYTES.equals(result), `round ${round}`);
    else assert.ok(isFault(result), `round ${round}: ${String(result)}`);
  }
});
