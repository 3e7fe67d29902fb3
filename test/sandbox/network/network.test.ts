import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { networkInterfaces } from 'node:os';
import { test } from 'node:test';
import type { NetworkPolicy } from '../../../src/sandbox/driver.ts';
import { parseAddress, type Address } from '../../../src/std/ip/address.ts';
import { HOST_NAME, openNetwork, type Network, type NetworkOptions } from '../../../src/sandbox/network/index.ts';
import { query } from '../../support/network/dns-messages.ts';
import { ip4, ScriptedGuest, wire } from '../../support/network/guest.ts';

const GATEWAY = ip4(10, 118, 37, 1);

async function open(
  options: NetworkOptions = {},
  policy: NetworkPolicy = { mode: 'public' },
): Promise<{ network: Network; guest: ScriptedGuest } & AsyncDisposable> {
  const network = await openNetwork(policy, options, AbortSignal.timeout(60_000));
  const [qemu, far] = wire();
  network.attach(qemu);
  assert.ok(network.guest);
  const dispose = async (): Promise<void> => await network[Symbol.asyncDispose]();
  return { network, guest: new ScriptedGuest(far, network.guest), [Symbol.asyncDispose]: dispose };
}

/** A TCP server on every address of this host. */
async function listen(
  onConnection: (socket: Socket) => void,
): Promise<{ port: number; server: Server } & AsyncDisposable> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => server.emit('left'));
    onConnection(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, '0.0.0.0', resolve));
  const dispose = (): Promise<void> =>
    new Promise((resolve) => {
      for (const socket of sockets) socket.destroy();
      server.close(() => resolve());
    });
  return { port: (server.address() as AddressInfo).port, server, [Symbol.asyncDispose]: dispose };
}

test('a guest that was never told of its link exchanges megabytes with a port that was opened', async () => {
  const block = Buffer.alloc(1_000_000);
  for (let at = 0; at < block.length; at += 4) block.writeUInt32BE(Math.imul(at, 0x9e37_79b1) >>> 0, at);
  // Echoes everything at the end.
  await using server = await listen((socket) => {
    const heard: Buffer[] = [];
    let bytes = 0;
    socket.on('data', (chunk) => {
      heard.push(chunk);
      bytes += chunk.length;
      if (bytes === block.length) socket.end(Buffer.concat(heard));
    });
  });
  await using bench = await open({ exceptions: [`localhost:${server.port}`] });
  const connection = await bench.guest.connect(GATEWAY, server.port);
  await connection.writeAll(block);
  assert.equal(Buffer.compare(await connection.read(), block), 0);
  const { txBytes, rxBytes, dropped } = bench.network.use();
  assert.ok(txBytes > block.length && rxBytes > block.length);
  assert.equal(dropped, 0);
});

test('no address of this host is open to a guest, unless its owner says so', async () => {
  let connections = 0;
  await using server = await listen((socket) => {
    connections += 1;
    socket.end('hello');
  });
  const own = Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .filter(({ family }) => family === 'IPv4')
    .map(({ address }) => address);
  const targets = ['127.0.0.1', '127.0.0.53', '0.0.0.0', '10.0.2.2', '10.118.37.1', '169.254.169.254', ...own].map(at);
  {
    await using bench = await open();
    for (const [index, target] of targets.entries()) {
      await assert.rejects(bench.guest.connect(target, server.port, 41_000 + index), /refused/u);
    }
  }
  assert.equal(connections, 0);
  const [outward] = own.filter((address) => !address.startsWith('127.'));
  if (outward === undefined) return;
  await using bench = await open({ exceptions: [`${outward}:${server.port}`] });
  const connection = await bench.guest.connect(at(outward), server.port);
  assert.equal((await connection.read()).toString(), 'hello');
  assert.equal(connections, 1);
});

function at(text: string): Address {
  const address = parseAddress(text);
  assert.ok(address, text);
  return address;
}

test('an opened port has a name, and in mode allowlist the name must be listed', async () => {
  await using server = await listen((socket) => socket.end('hello'));
  const allow = [HOST_NAME];
  await using bench = await open({ exceptions: [`localhost:${server.port}`] }, { mode: 'allowlist', allow });
  await assert.rejects(bench.guest.connect(GATEWAY, server.port, 41_001), /refused/u);
  bench.guest.udp(GATEWAY, 53, query(HOST_NAME));
  const { payload } = await bench.guest.next();
  assert.deepEqual([...payload.subarray(-4)], [10, 118, 37, 1]);
  const connection = await bench.guest.connect(GATEWAY, server.port, 41_002);
  assert.equal((await connection.read()).toString(), 'hello');
  await using closed = await open(
    { exceptions: [`localhost:${server.port}`] },
    { mode: 'allowlist', allow: ['example.org'] },
  );
  await assert.rejects(closed.guest.connect(GATEWAY, server.port), /refused/u);
});

test('a port where nobody listens is refused by the network, not by silence', async () => {
  const { port } = await listen(() => {}).then(async (server) => {
    await server[Symbol.asyncDispose]();
    return server;
  });
  await using bench = await open({ exceptions: [`127.0.0.1:${port}`] });
  await assert.rejects(bench.guest.connect(GATEWAY, port), /refused/u);
  assert.equal(bench.network.use().dropped, 0);
});

test('a connection that is reset outside is reset inside, and the reverse', async () => {
  const errors: string[] = [];
  await using server = await listen((socket) => {
    socket.on('error', (error: NodeJS.ErrnoException) => errors.push(error.code ?? ''));
    socket.once('data', (chunk) => (chunk.toString() === 'go' ? socket.resetAndDestroy() : undefined));
  });
  await using bench = await open({ exceptions: [`localhost:${server.port}`] });
  const connection = await bench.guest.connect(GATEWAY, server.port, 46_000);
  connection.write('go');
  await assert.rejects(connection.read(), /reset/u);
  const other = await bench.guest.connect(GATEWAY, server.port, 46_001);
  other.write('stay');
  other.reset();
  while (errors.length === 0) await new Promise(setImmediate);
  assert.deepEqual(errors, ['ECONNRESET']);
});

test('datagrams go out and answers come back, from a port that the kernel picked', async () => {
  await using echo = await echoServer();
  await using bench = await open({ exceptions: [`localhost:${echo.port}`] });
  bench.guest.udp(GATEWAY, echo.port, 'there and', 40_123);
  const { payload, packet } = await bench.guest.next();
  assert.equal(payload.toString(), 'there and back');
  assert.deepEqual([packet?.sourcePort, packet?.destinationPort], [echo.port, 40_123]);
  assert.notEqual(echo.from[0], 40_123, 'a guest cannot take a port of the host that it likes');
  const large = 'x'.repeat(60_000);
  bench.guest.udp(GATEWAY, echo.port, large, 40_123);
  assert.equal((await bench.guest.next()).payload.toString(), `${large} back`);
  assert.equal(new Set(echo.from).size, 1, 'one flow, one port');
  assert.equal(bench.network.use().dropped, 0);
});

test('nobody but whom the guest wrote to can answer', async () => {
  await using echo = await echoServer();
  await using bench = await open({ exceptions: [`localhost:${echo.port}`] });
  bench.guest.udp(GATEWAY, echo.port, 'there and');
  await bench.guest.next();
  await using stranger = await echoServer();
  await stranger.send('not asked for', echo.from[0] ?? 0);
  bench.guest.udp(GATEWAY, echo.port, 'once more');
  assert.equal((await bench.guest.next()).payload.toString(), 'once more back');
  assert.deepEqual(bench.guest.heard(), []);
});

test('a datagram to a port where nobody listens comes back as unreachable', async () => {
  const gone = await echoServer();
  await gone[Symbol.asyncDispose]();
  await using bench = await open({ exceptions: [`localhost:${gone.port}`] });
  bench.guest.udp(GATEWAY, gone.port, 'x', 40_124);
  const { frame, packet, payload } = await bench.guest.next();
  assert.deepEqual([packet?.icmpType, frame[35]], [3, 3]);
  assert.deepEqual([payload.readUInt16BE(20), payload.readUInt16BE(22)], [40_124, gone.port], 'it says which');
});

/** Echoes every datagram of the host and records their source ports. */
async function echoServer(): Promise<
  {
    port: number;
    from: number[];
    send: (message: string, port: number) => Promise<void>;
  } & AsyncDisposable
> {
  const echo = createSocket('udp4');
  const from: number[] = [];
  echo.on('message', (message, { port, address }) => {
    from.push(port);
    echo.send(`${message.toString()} back`, port, address);
  });
  await new Promise<void>((resolve) => echo.bind(0, '127.0.0.1', resolve));
  const send = (message: string, port: number): Promise<void> =>
    new Promise((resolve) => echo.send(message, port, '127.0.0.1', () => resolve()));
  const dispose = (): Promise<void> => new Promise((resolve) => echo.close(() => resolve()));
  return { port: echo.address().port, from, send, [Symbol.asyncDispose]: dispose };
}

/** Datagram sockets of this process. */
function datagramSockets(): number {
  return process.getActiveResourcesInfo().filter((resource) => resource === 'UDPWrap').length;
}

test('nothing is left when a network is closed, whatever was going on', async () => {
  await using server = await listen((socket) => void socket.write(Buffer.alloc(10_000_000)));
  for (let round = 0; round < 5; round += 1) {
    const bench = await open({ exceptions: [`localhost:${server.port}`] });
    await bench.guest.connect(GATEWAY, server.port);
    bench.guest.udp(ip4(203, 0, 113, 1), 9, 'x');
    await bench.guest.settled();
    assert.equal(datagramSockets(), 1);
    const ended = once(server.server, 'left');
    await bench[Symbol.asyncDispose]();
    await bench[Symbol.asyncDispose]();
    await ended;
    assert.equal(datagramSockets(), 0);
  }
});

test('mode none has no link, answers nothing and starts nothing', async () => {
  await using network = await openNetwork({ mode: 'none' }, {}, AbortSignal.timeout(5_000));
  assert.equal(network.guest, undefined);
  const [qemu, far] = wire();
  network.attach(qemu);
  far.write(Buffer.concat([Buffer.from([0, 0, 0, 60]), Buffer.alloc(60)]));
  while (network.use().dropped === 0) await new Promise(setImmediate);
  assert.equal(far.read(), null);
  assert.equal(network.use().txBytes, 0);
});

test('a bad rule is named with its fault, and a cancelled opening opens nothing', async () => {
  const bad = openNetwork({ mode: 'allowlist', allow: ['no such rule'] }, {}, AbortSignal.timeout(5_000));
  await assert.rejects(bad, { code: 'ARGUMENT_INVALID' });
  await assert.rejects(openNetwork({ mode: 'none' }, {}, AbortSignal.abort()), { name: 'AbortError' });
});
