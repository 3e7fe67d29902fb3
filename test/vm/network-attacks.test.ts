import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { createReadStream } from 'node:fs';
import { chmod, readFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { debianImage } from '../../scripts/support/debian-image.ts';
import { buildLayer } from '../../src/layers/build-layer.ts';
import type { LayerFile } from '../../src/erofs/layer-file.ts';
import type { Instance, NetworkPolicy } from '../../src/sandbox/driver.ts';
import type { Resolver } from '../../src/sandbox/network/dns/resolver.ts';
import { a, answer, cname, type TestRecord } from '../support/network/dns-messages.ts';
import { STORED_MODE } from '../support/layers.ts';
import { bootSpec, runScript } from '../support/microvm.ts';
import { sandboxFolder, type SandboxBench } from '../support/sandboxes/selected.ts';

/*
 * Attacks on the network from inside real guests, as root there (SECURITY.md, docs/attacks.md 23 and 24). Forbidden
 * targets either listen here and receive nothing, or are in the list of what the filter refused.
 */

const folder = await sandboxFolder();
const ATTACKER = await readFile(join(import.meta.dirname, '../support/network/network_attacks.py'), 'utf8');
const debian = await debianLayer();
after(() => folder[Symbol.asyncDispose]());

const GATEWAY = '10.118.37.1';
const GATEWAY6 = 'fd2c:6f6e:7472:6565::1';
const soon = (): AbortSignal => AbortSignal.timeout(240_000);

/** A guest with python. */
async function debianLayer(): Promise<LayerFile> {
  const { tar } = await debianImage();
  const path = join(folder.stateDir, '../debian.erofs');
  const { bytes } = await buildLayer(createReadStream(tar), path);
  await chmod(path, STORED_MODE);
  return { path, bytes };
}

interface Wanted {
  readonly tcp?: readonly (readonly [string, number])[];
  readonly udp?: readonly (readonly [string, number])[];
  readonly dns?: readonly string[];
  readonly names?: readonly string[];
}

interface Attacked {
  readonly reached: readonly string[];
  /** Returns the addresses that the guest resolved by name, or the error. */
  readonly names: Readonly<Record<string, readonly string[] | string>>;
  readonly errors: Readonly<Record<string, string>>;
}

/** Runs the attacker in the guest. */
async function attack(instance: Instance, wanted: Wanted): Promise<Attacked> {
  const what = { argv: ['python3', '-c', ATTACKER], env: { PATH: '/usr/bin:/bin' }, cwd: '/', uid: 0, gid: 0 };
  const process = await instance.start({ ...what, stdin: true }, soon());
  await process.write(Buffer.from(JSON.stringify(wanted)));
  await process.closeStdin();
  const text = { stdout: '', stderr: '' };
  for await (const { stream, bytes } of process.output) text[stream] += Buffer.from(bytes).toString();
  assert.equal((await process.outcome).exitCode, 0, text.stderr);
  return JSON.parse(text.stdout) as Attacked;
}

async function boot(bench: SandboxBench, network: NetworkPolicy): Promise<Instance> {
  return bench.driver.start(bootSpec([debian], { network }), soon());
}

/** A service of the host on one port of all its addresses, in TCP and UDP. */
async function service(): Promise<AsyncDisposable & { readonly port: number; readonly calls: () => number }> {
  let calls = 0;
  const server = createServer((socket) => {
    calls += 1;
    socket.on('error', () => {}).resume();
    socket.end('host service\n');
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '::', resolve);
  });
  const { port } = server.address() as AddressInfo;
  const datagrams = createSocket('udp6', (_, from) => {
    calls += 1;
    datagrams.send('host service\n', from.port, from.address);
  });
  await new Promise<void>((resolve) => {
    datagrams.bind(port, '::', resolve);
  });
  return {
    port,
    calls: () => calls,
    [Symbol.asyncDispose]: async () => {
      datagrams.close();
      await server[Symbol.asyncDispose]();
    },
  };
}

/** Returns this host's addresses, without link-local ones. */
function hostAddresses(): string[] {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  return all.filter(({ internal, scopeid }) => !internal && !(scopeid ?? 0)).map(({ address }) => address);
}

/** Addresses of cloud metadata services, and of the host and nameserver in user-mode networks. */
const WELL_KNOWN = ['169.254.169.254', 'fd00:ec2::254', '10.0.2.2', '10.0.2.3', '100.100.100.200', '192.168.1.1'];
/** Other representations of loopback addresses. */
const DISGUISED = [
  '0.0.0.0',
  '127.0.0.2',
  '::ffff:127.0.0.1',
  '::',
  '64:ff9b::7f00:1',
  '2002:7f00:1::1',
  '255.255.255.255',
];

test('23: nothing of the host, its networks, the cloud it may run in or other guests is reached, over IPv4, IPv6, TCP or UDP', async () => {
  await using host = await service();
  const addresses = [...hostAddresses(), GATEWAY, GATEWAY6, ...WELL_KNOWN, ...DISGUISED, '127.0.0.1', '::1'];
  const targets = addresses.flatMap((address) => [[address, host.port] as const, [address, 80] as const]);
  // As on a host with IPv6 connectivity, whether this one has it or not.
  await using bench = await folder.open({ network: { families: { ip4: true, ip6: true } } });
  for (const network of [
    { mode: 'public' },
    { mode: 'none' },
    { mode: 'allowlist', allow: ['203.0.113.9', 'example.org'] },
  ] satisfies NetworkPolicy[]) {
    await using instance = await boot(bench, network);
    const { reached, errors } = await attack(instance, { tcp: targets, udp: targets });
    assert.deepEqual(reached, [], network.mode);
    assert.equal(host.calls(), 0, network.mode);
    if (network.mode === 'none') continue;
    // Refused, not ignored: programs fail immediately.
    const refused = Object.entries(errors).filter(([what]) => what.startsWith('tcp 10.0.2.2 '));
    assert.deepEqual([...new Set(refused.map(([, error]) => error))], ['ConnectionRefusedError'], network.mode);
  }
});

test('23: a guest does not reach another guest, nor its ports those of the host', async () => {
  await using bench = await folder.open();
  await using victim = await boot(bench, { mode: 'public' });
  await using attacker = await boot(bench, { mode: 'public' });
  const serve = 'import http.server as h; h.HTTPServer(("", 8000), h.SimpleHTTPRequestHandler).serve_forever()';
  const shell = { env: { PATH: '/usr/bin:/bin' }, cwd: '/', uid: 0, gid: 0, stdin: false };
  const server = await victim.start({ argv: ['python3', '-c', serve], ...shell }, soon());
  const own =
    'for i in $(seq 100); do python3 -c "import socket; socket.create_connection((\'127.0.0.1\', 8000))" && exit; sleep 0.1; done 2>/dev/null';
  assert.equal((await runScript(victim, own)).outcome.exitCode, 0, 'it serves itself');
  // Both have the same address on separate links; the neighbours of that address are tried too.
  const places = ['10.118.37.2', '10.118.37.3', '10.118.37.0', GATEWAY, ...hostAddresses()];
  const { reached } = await attack(attacker, { tcp: places.map((place) => [place, 8_000]) });
  assert.deepEqual(reached, []);
  await server.kill(9);
});

test('23: no nameserver but ours is asked, over UDP, TCP or TLS', async () => {
  await using bench = await folder.open({ network: { resolver: { resolve: async () => undefined } } });
  await using instance = await boot(bench, { mode: 'public' });
  const servers = ['8.8.8.8', '1.1.1.1', '203.0.113.53', '10.0.2.3'];
  assert.deepEqual((await attack(instance, { dns: servers })).reached, []);
  const { refused } = instance.networkUse();
  for (const server of servers) {
    for (const what of [`udp ${server}:53`, `tcp ${server}:53`, `tcp ${server}:853`])
      assert.ok(refused.includes(what), what);
  }
});

/** Sends a datagram from each of 4,000 ports, then asks until it is answered. */
const EVERY_PORT = `import socket, sys, time
target = (sys.argv[1], int(sys.argv[2]))
for port in range(32768, 36768):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("", port))
        s.sendto(b"flood", target)
for attempt in range(100):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(0.5)
        s.sendto(b"hello", target)
        try:
            print(s.recv(100).decode())
            break
        except OSError:
            pass`;

test('23: a guest that sends from every port takes few of the host, and none that it chose', async () => {
  const held = (): number => process.getActiveResourcesInfo().filter((kind) => kind === 'UDPWrap').length;
  let most = 0;
  await using datagrams = createSocket('udp4', (message, from) => {
    most = Math.max(most, held());
    if (message.toString() === 'hello') datagrams.send('answered', from.port, from.address);
  });
  await new Promise<void>((resolve) => {
    datagrams.bind(0, '127.0.0.1', resolve);
  });
  const { port } = datagrams.address();
  const before = held();
  {
    await using bench = await folder.open({ network: { hostPorts: [port] } });
    await using instance = await boot(bench, { mode: 'public' });
    const { stdout } = await runScript(instance, `python3 -c '${EVERY_PORT}' ${GATEWAY} ${port}`);
    assert.equal(stdout, 'answered\n', 'it may go on');
    // Open, or closed in this turn of the event loop.
    assert.ok(most > before && most <= before + 2 * 256, `${most} sockets`);
    assert.ok(instance.networkUse().refused.includes('udp: too many new flows'));
  }
  assert.equal(held(), before);
});

test('23: a guest that takes another address or hardware address than it was given says nothing to anybody', async () => {
  await using host = await service();
  await using bench = await folder.open();
  for (const disguise of [
    'ip address add 10.118.37.77/24 dev eth0; ip route replace default via 10.118.37.1 src 10.118.37.77',
    'ip link set eth0 address 02:11:22:33:44:55',
    'ip route add 169.254.0.0/16 dev eth0; ip neigh replace 169.254.169.254 lladdr 02:63:74:72:00:01 dev eth0',
  ]) {
    await using instance = await bench.driver.start(bootSpec(bench.layers, { network: { mode: 'public' } }), soon());
    const tries = [...hostAddresses().filter((address) => !address.includes(':')), '169.254.169.254', '203.0.113.7'];
    const attempts = tries.map((address) => `{ sleep 2 | nc -w 2 ${address} ${host.port}; } &`).join('\n');
    const { stdout } = await runScript(instance, `${disguise}\n${attempts}\nwait`);
    assert.equal(stdout, '', disguise);
    assert.ok(instance.networkUse().dropped > 0, disguise);
  }
  assert.equal(host.calls(), 0);
});

/** Nameserver with these records; names in `rebinds` get another address for every query. */
function resolverOf(
  known: Readonly<Record<string, readonly TestRecord[]>>,
  rebinds: Record<string, string[]> = {},
): Resolver {
  return {
    resolve: async ({ name, question }) => {
      const message = Buffer.concat([Buffer.from('00000100000100000000', 'hex'), Buffer.alloc(2), question]);
      const address = rebinds[name]?.shift();
      const records = address === undefined ? known[name] : [a(name, address, 0)];
      return answer(message, records ?? [], { flags: records === undefined ? 0x8183 : 0x8180 });
    },
  };
}

test('24: a list of names opens what they stand for and nothing else, whatever DNS is made to say', async () => {
  await using host = await service();
  const [lan = '192.0.2.1'] = hostAddresses();
  const known = {
    'good.example': [a('good.example', '203.0.113.10')],
    // Allowed names under the control of an attacker.
    'metadata.good.example': [a('metadata.good.example', '169.254.169.254')],
    'host.good.example': [a('host.good.example', lan), a('host.good.example', '127.0.0.1')],
    'alias.good.example': [cname('alias.good.example', 'inside.example'), a('inside.example', '10.0.2.2')],
    'mixed.good.example': [a('mixed.good.example', '10.1.2.3'), a('mixed.good.example', '203.0.113.11')],
    'evil.example': [a('evil.example', '203.0.113.66')],
    // Only suffixes of allowed names.
    'notgood.example': [a('notgood.example', '203.0.113.67')],
    'good.example.evil.example': [a('good.example.evil.example', '203.0.113.68')],
  };
  const rebinds = { 'rebind.good.example': ['203.0.113.12', '127.0.0.1', '169.254.169.254', lan] };
  await using bench = await folder.open({ network: { resolver: resolverOf(known, rebinds) } });
  await using instance = await boot(bench, { mode: 'allowlist', allow: ['good.example', '*.good.example'] });
  const names = [...Object.keys(known), 'rebind.good.example'];
  const told = (await attack(instance, { names })).names;
  assert.deepEqual(told['good.example'], ['203.0.113.10']);
  assert.deepEqual(told['mixed.good.example'], ['203.0.113.11'], 'the private part is taken out');
  for (const name of [
    'metadata.good.example',
    'host.good.example',
    'alias.good.example',
    'evil.example',
    'notgood.example',
    'good.example.evil.example',
  ]) {
    assert.equal(told[name], 'gaierror', name);
  }
  for (let again = 0; again < 3; again += 1) {
    const { names: rebound } = await attack(instance, { names: ['rebind.good.example'] });
    assert.notDeepEqual(rebound['rebind.good.example'], [lan]);
  }
  // By address: addresses of no allowed name, and addresses of a refused name only. In every notation that programs
  // accept; there is no proxy in between that a Host header, CRLF, CONNECT or h2c could affect.
  const spellings = [
    '0xa9fea9fe',
    '0251.0376.0251.0376',
    '2852039166',
    '169.254.43518',
    '0xcb.0.0x71.66',
    '203.0.28994',
  ];
  const addresses = [
    lan,
    '10.0.2.2',
    '10.1.2.3',
    '203.0.113.66',
    '203.0.113.67',
    '203.0.113.68',
    '203.0.113.1',
    ...spellings,
  ];
  const { reached, errors } = await attack(instance, { tcp: addresses.map((address) => [address, host.port]) });
  assert.deepEqual(reached, []);
  assert.deepEqual([...new Set(Object.values(errors))], ['ConnectionRefusedError']);
  assert.equal(host.calls(), 0);
  const { refused } = instance.networkUse();
  for (const what of [
    'dns evil.example',
    'dns notgood.example',
    `tcp 169.254.169.254:${host.port}`,
    `tcp 203.0.113.66:${host.port}`,
  ]) {
    assert.ok(refused.includes(what), `${what} in ${refused.join(', ')}`);
  }
});

test('24: a redirect or a name of an allowed service does not lead out of the list', async () => {
  await using elsewhere = await service();
  const server = createServer((socket) => {
    socket.on('error', () => {}).resume();
    socket.end(
      `HTTP/1.1 302 Found\r\nLocation: http://${hostAddresses()[0] ?? '192.0.2.1'}:${elsewhere.port}/\r\nContent-Length: 0\r\n\r\n`,
    );
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  await using _server = server;
  const { port } = server.address() as AddressInfo;
  await using bench = await folder.open({ network: { hostPorts: [port] } });
  await using instance = await boot(bench, { mode: 'allowlist', allow: ['host.contree.internal'] });
  const follow = `import urllib.request as u\ntry: print(u.urlopen("http://host.contree.internal:${port}/", timeout=20).read())\nexcept Exception as e: print(repr(e))`;
  const { stdout } = await runScript(instance, `python3 -c '${follow}'`);
  assert.match(stdout, /Connection refused/u, 'it was sent on, and did not get there');
  assert.equal(elsewhere.calls(), 0);
});
