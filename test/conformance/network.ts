import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { createServer, type AddressInfo } from 'node:net';
import { networkInterfaces } from 'node:os';
import { describe, test } from 'node:test';
import type { NetworkPolicy } from '../../src/sandbox/driver.ts';
import { bootSpec, runScript } from '../support/microvm.ts';
import type { SandboxFolder } from '../support/sandboxes/selected.ts';

const GATEWAY = '10.118.37.1';
const soon = (): AbortSignal => AbortSignal.timeout(120_000);

/** A service of the host, on all its addresses. */
async function service(): Promise<AsyncDisposable & { readonly port: number; readonly calls: () => number }> {
  let calls = 0;
  const server = createServer((socket) => {
    calls += 1;
    socket.on('error', () => {});
    socket.end('host service\n');
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '::', resolve);
  });
  const { port } = server.address() as AddressInfo;
  return { port, calls: () => calls, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}

/** Addresses of the host, and those a guest must never reach. */
function forbidden(): string[] {
  const own = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  const ip4 = own.filter(({ family, internal }) => family === 'IPv4' && !internal).map(({ address }) => address);
  return [...ip4, GATEWAY, '10.0.2.2', '169.254.169.254', '100.64.0.1', '192.168.0.1'];
}

/** Returns a script that prints which of the addresses answered. */
function attempts(addresses: readonly string[], port: number): string {
  // Its standard input stays open for a while: a client that sends nothing might not wait for the answer.
  const attempt = `{ sleep 2 | nc -w 2 $address ${port} && echo reached $address; } &`;
  return `for address in ${addresses.join(' ')}; do ${attempt} done; wait`;
}

/** Declares the tests of a guest's network, which every sandbox passes. */
export function networkTests(name: string, folder: SandboxFolder): void {
  describe(`${name} network`, () => {
    test('a guest reaches neither its host nor private networks, with the network on or off', async () => {
      await using bench = await folder.open();
      await using host = await service();
      for (const network of [{ mode: 'public' }, { mode: 'none' }] satisfies NetworkPolicy[]) {
        await using instance = await bench.driver.start(bootSpec(bench.layers, { network }), soon());
        const { stdout } = await runScript(instance, attempts(forbidden(), host.port));
        assert.equal(stdout, '', network.mode);
        if (network.mode === 'public') assert.ok(instance.networkUse().refused.length > 0);
      }
      assert.equal(host.calls(), 0);
    });

    test('a port of the host that its owner opened is reached, and is the only one', async () => {
      await using open = await service();
      await using closed = await service();
      await using bench = await folder.open({ network: { hostPorts: [open.port] } });
      await using instance = await bench.driver.start(bootSpec(bench.layers, { network: { mode: 'public' } }), soon());
      const { stdout } = await runScript(instance, `sleep 2 | nc -w 5 ${GATEWAY} ${open.port}`);
      assert.equal(stdout, 'host service\n');
      assert.equal((await runScript(instance, attempts([GATEWAY], closed.port))).stdout, '');
      assert.equal(closed.calls(), 0);
      const { txPackets, rxPackets, rxBytes } = instance.networkUse();
      assert.ok(txPackets > 0 && rxPackets > 0 && rxBytes > 'host service\n'.length);
    });

    test('megabytes go in and out whole, and each side is told that the other has said all', async () => {
      const content = randomBytes(20_000_000);
      const digest = (bytes: Buffer): string => createHash('md5').update(bytes).digest('hex');
      const heard: Buffer[] = [];
      const server = createServer({ allowHalfOpen: true }, (socket) => {
        socket.on('error', () => {});
        // The guest's data to its end, then the answer to its end.
        socket.on('data', (chunk) => heard.push(chunk));
        socket.on('end', () => socket.end(content));
      });
      await new Promise<void>((resolve) => {
        server.listen(0, '127.0.0.1', resolve);
      });
      await using _server = server;
      const { port } = server.address() as AddressInfo;
      await using bench = await folder.open({ network: { hostPorts: [port] } });
      await using instance = await bench.driver.start(bootSpec(bench.layers, { network: { mode: 'public' } }), soon());
      const script = `head -c 20000000 /dev/urandom > /said; md5sum < /said; nc ${GATEWAY} ${port} < /said | md5sum`;
      const { stdout } = await runScript(instance, script);
      const [said, got] = stdout.split('\n').map((line) => line.split(' ', 1)[0]);
      assert.equal(digest(Buffer.concat(heard)), said);
      assert.equal(got, digest(content));
    });
  });
}
