import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { networkInterfaces } from 'node:os';
import { test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import type { NetworkPolicy } from '../../../src/sandbox/driver.ts';
import { parseAddress, type Address } from '../../../src/std/ip-address.ts';
import { HOST_NAME, openNetwork, type Network, type NetworkOptions } from '../../../src/sandbox/network/index.ts';
import { query } from '../../support/network/dns-messages.ts';
import { ip4, type Received, ScriptedGuest, wire } from '../../support/network/guest.ts';

const PASST = '/usr/bin/passt';
const skip = existsSync(PASST) ? false : 'passt is not installed (scripts/setup installs it)';
const GATEWAY = ip4(10, 118, 37, 1);
/** As the driver starts it where it is root. */
const identity = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {};

async function open(
  options: NetworkOptions = {},
  policy: NetworkPolicy = { mode: 'public' },
): Promise<{ network: Network; guest: ScriptedGuest; log: string[] } & AsyncDisposable> {
  const log: string[] = [];
  const add = (message: string): void => void log.push(message);
  const network = await openNetwork(policy, { passt: identity, log: add, ...options }, AbortSignal.timeout(60_000));
  const [qemu, far] = wire();
  network.attach(qemu);
  assert.ok(network.guest);
  const dispose = async (): Promise<void> => await network[Symbol.asyncDispose]();
  return { network, guest: new ScriptedGuest(far, network.guest), log, [Symbol.asyncDispose]: dispose };
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

function passtChildren(): number[] {
  const children = readFileSync(`/proc/${process.pid}/task/${process.pid}/children`, 'utf8').split(' ').filter(Boolean);
  return children.map(Number).filter((pid) => readFileSync(`/proc/${pid}/comm`, 'utf8').startsWith('passt'));
}

test('a guest that was never told of its link exchanges megabytes with a port that was opened', { skip }, async () => {
  const block = Buffer.alloc(1_000_000);
  for (let at = 0; at < block.length; at += 4) block.writeUInt32BE(Math.imul(at, 0x9e37_79b1) >>> 0, at);
  // Says back what it hears, once it has heard it all.
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
  assert.deepEqual(passtChildren(), [], 'connections need none');
});

test('no address of this host is open to a guest, unless its owner says so', { skip }, async () => {
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
    assert.deepEqual(passtChildren(), []);
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

test('an opened port has a name, and in mode allowlist the name must be listed', { skip }, async () => {
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

test('a port where nobody listens is refused by the network, not by silence', { skip }, async () => {
  const { port } = await listen(() => {}).then(async (server) => {
    await server[Symbol.asyncDispose]();
    return server;
  });
  await using bench = await open({ exceptions: [`127.0.0.1:${port}`] });
  await assert.rejects(bench.guest.connect(GATEWAY, port), /refused/u);
  assert.equal(bench.network.use().dropped, 0);
});

test('a connection that is reset outside is reset inside, and the reverse', { skip }, async () => {
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

test('passt is started for datagrams, has no privileges, and a killed one is replaced', { skip }, async () => {
  await using echo = await echoServer();
  await using bench = await open({ exceptions: ['localhost:1', `10.118.37.1:${echo.port}`] });
  assert.deepEqual(passtChildren(), [], 'not before it is needed');
  bench.guest.udp(GATEWAY, echo.port, 'there and');
  assert.equal((await bench.guest.next()).payload.toString(), 'there and back');
  const [pid = 0] = passtChildren();
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  assert.doesNotMatch(status, /^Uid:\s+0/mu);
  assert.match(status, /^NoNewPrivs:\s+1$/mu);
  assert.match(status, /^Seccomp:\s+2$/mu);
  assert.match(status, /^CapEff:\s+0+$/mu);
  process.kill(pid, 'SIGKILL');
  while (bench.log.length === 0) await new Promise(setImmediate);
  const isBack = ({ payload }: Received): boolean => payload.toString() === 'here and back';
  while (!bench.guest.heard().some(isBack)) {
    // Refused until the next one may be started; a datagram may also be lost with the one that ended.
    bench.guest.udp(GATEWAY, echo.port, 'here and');
    await setTimeout(20);
  }
  assert.notEqual(passtChildren()[0], pid);
  assert.match(bench.log.join(), /passt ended: exit SIGKILL/u);
});

/** Says back every datagram. */
async function echoServer(): Promise<{ port: number } & AsyncDisposable> {
  const echo = createSocket('udp4');
  echo.on('message', (message, from) => echo.send(`${message.toString()} back`, from.port, from.address));
  await new Promise<void>((resolve) => echo.bind(0, '127.0.0.1', resolve));
  const dispose = (): Promise<void> => new Promise((resolve) => echo.close(() => resolve()));
  return { port: echo.address().port, [Symbol.asyncDispose]: dispose };
}

test('nothing is left when a network is closed, whatever was going on', { skip }, async () => {
  await using server = await listen((socket) => void socket.write(Buffer.alloc(10_000_000)));
  for (let round = 0; round < 5; round += 1) {
    const bench = await open({ exceptions: [`localhost:${server.port}`] });
    await bench.guest.connect(GATEWAY, server.port);
    bench.guest.udp(ip4(203, 0, 113, 1), 9, 'x');
    await bench.guest.settled();
    assert.equal(passtChildren().length, 1);
    const ended = once(server.server, 'left');
    await bench[Symbol.asyncDispose]();
    await bench[Symbol.asyncDispose]();
    await ended;
    assert.deepEqual(passtChildren(), []);
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

test('a missing passt is named with its remedy, a bad rule with its fault', async () => {
  const missing = openNetwork(
    { mode: 'public' },
    { passt: { program: '/nonexistent/passt' } },
    AbortSignal.timeout(5_000),
  );
  await assert.rejects(missing, { code: 'DRIVER_UNAVAILABLE', message: /install the package "passt"/u });
  if (skip !== false) return;
  const bad = openNetwork({ mode: 'allowlist', allow: ['no such rule'] }, {}, AbortSignal.timeout(5_000));
  await assert.rejects(bad, { code: 'ARGUMENT_INVALID' });
  await assert.rejects(openNetwork({ mode: 'none' }, {}, AbortSignal.abort()), { name: 'AbortError' });
});
