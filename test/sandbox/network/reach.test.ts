import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytesOfAddress, parseAddress, parseCidr } from '../../../src/std/ip/address.ts';
import type { Query } from '../../../src/sandbox/network/dns/message.ts';
import { nat64Prefixes } from '../../../src/sandbox/network/dns/nat64.ts';
import { emptyPacket, PROTOCOL, TCP_FLAG, type Packet } from '../../../src/sandbox/network/packet.ts';
import { Reach, type ReachOptions } from '../../../src/sandbox/network/reach.ts';
import { answer, TYPE } from '../../support/network/dns-messages.ts';

type Target = { readonly to: string; readonly port?: number; readonly protocol?: number; readonly flags?: number };

function packetTo({ to, port = 443, protocol = PROTOCOL.tcp, flags = TCP_FLAG.syn }: Target): Packet {
  const address = parseAddress(to);
  assert.ok(address, to);
  return {
    ...emptyPacket(),
    destination: address,
    source: address,
    protocol,
    destinationPort: port,
    sourcePort: port,
    flags,
  };
}

function address(text: string): Uint32Array {
  return packetTo({ to: text }).destination;
}

/** A host with a LAN and a public address. */
const networks = (): ReturnType<NonNullable<ReachOptions['networks']>> =>
  ['203.0.113.0/28', '2001:db8:1::/64'].map((text) => parseCidr(text)!);

function reachable(reach: Reach, targets: readonly Target[]): boolean[] {
  return targets.map((target) => reach.permits(packetTo(target)));
}

const PUBLIC: readonly Target[] = [
  { to: '1.1.1.1' },
  { to: '1.1.1.1', port: 80 },
  { to: '203.0.113.80', port: 22 },
  { to: '2606:4700::1' },
  { to: '1.1.1.1', protocol: PROTOCOL.udp },
  { to: '1.1.1.1', protocol: PROTOCOL.icmp4, port: 0 },
];

const PRIVATE: readonly Target[] = [
  '127.0.0.1 10.0.2.2 10.0.2.3 10.118.37.1 192.168.1.1 169.254.169.254 100.64.0.1 0.0.0.0',
  '224.0.0.251 255.255.255.255 fd00:ec2::254 fe80::1 ::1 ff02::1 2002:7f00:1::1',
  // The host's own public addresses and their networks.
  '203.0.113.2 203.0.113.15 2001:db8:1::99',
].flatMap((line) => line.split(' ').map((to) => ({ to })));

test('mode public reaches the internet and nothing private, in every protocol', () => {
  const reach = new Reach({ mode: 'public' }, { networks });
  assert.deepEqual(
    reachable(reach, PUBLIC),
    PUBLIC.map(() => true),
  );
  for (const protocol of [PROTOCOL.tcp, PROTOCOL.udp, PROTOCOL.icmp4]) {
    for (const flags of [TCP_FLAG.syn, TCP_FLAG.ack]) {
      const refused = PRIVATE.filter((target) => reach.permits(packetTo({ ...target, protocol, flags })));
      assert.deepEqual(refused, []);
    }
  }
});

test('foreign nameservers are out of reach over UDP, TCP, TLS and QUIC', () => {
  const reach = new Reach({ mode: 'public' }, { networks });
  for (const port of [53, 853]) {
    for (const protocol of [PROTOCOL.tcp, PROTOCOL.udp]) {
      assert.equal(reach.permits(packetTo({ to: '1.1.1.1', port, protocol })), false, `${protocol}/${port}`);
    }
  }
});

test('an exception opens what it names and no more', () => {
  const exceptions = ['10.0.0.0/24', '192.168.1.5:5432', '[fd00::5]:80', '1.1.1.1:53'];
  const reach = new Reach({ mode: 'public' }, { networks, exceptions });
  const open: readonly Target[] = [
    { to: '10.0.0.7', port: 22 },
    { to: '192.168.1.5', port: 5432 },
    { to: 'fd00::5', port: 80 },
    { to: '1.1.1.1', port: 53 },
  ];
  const shut: readonly Target[] = [
    { to: '10.0.1.7', port: 22 },
    { to: '192.168.1.5', port: 22 },
    { to: 'fd00::5', port: 443 },
    { to: 'fd00::6', port: 80 },
    { to: '8.8.8.8', port: 53 },
  ];
  assert.deepEqual(
    reachable(reach, open),
    open.map(() => true),
  );
  assert.deepEqual(
    reachable(reach, shut),
    shut.map(() => false),
  );
});

test('mode allowlist reaches what is on the list, and a list never opens what is private', () => {
  const reach = new Reach(
    { mode: 'allowlist', allow: ['1.1.1.0/24', '2606:4700::1', '10.0.0.0/8', '9.9.9.9:443'] },
    { networks },
  );
  const open: readonly Target[] = [{ to: '1.1.1.9', port: 22 }, { to: '2606:4700::1' }, { to: '9.9.9.9' }];
  const shut: readonly Target[] = [
    { to: '1.1.2.1' },
    { to: '10.0.0.1' },
    { to: '9.9.9.9', port: 80 },
    { to: '203.0.113.80' },
  ];
  assert.deepEqual(
    reachable(reach, open),
    open.map(() => true),
  );
  assert.deepEqual(
    reachable(reach, shut),
    shut.map(() => false),
  );
  const excepted = new Reach({ mode: 'allowlist', allow: ['10.0.0.0/8'] }, { networks, exceptions: ['10.1.0.0/16'] });
  assert.equal(excepted.permits(packetTo({ to: '10.1.2.3' })), true);
  assert.equal(excepted.permits(packetTo({ to: '10.2.2.3' })), false);
});

test('a name on the list stands for the addresses it was answered with, for as long as it was said', () => {
  let nowMs = 0;
  const policy = { mode: 'allowlist', allow: ['example.org', '*.example.net:443'] } as const;
  const reach = new Reach(policy, { networks, nowMs: () => nowMs });
  assert.deepEqual(
    [
      'example.org',
      'www.example.org',
      'example.net',
      'a.example.net',
      'a.b.example.net',
      'evilexample.net',
      'example.com',
    ].map((name) => reach.permitsName(name)),
    [true, false, false, true, true, false, false],
  );
  const target = { to: '1.2.3.4' };
  assert.equal(reach.permits(packetTo(target)), false, 'nobody asked yet');
  reach.learn('example.org', address('1.2.3.4'), 5);
  reach.learn('a.example.net', address('1.2.3.5'), 600);
  reach.learn('example.com', address('1.2.3.6'), 600);
  assert.equal(reach.permits(packetTo({ ...target, port: 22 })), true);
  assert.equal(reach.permits(packetTo({ to: '1.2.3.5', port: 443 })), true);
  assert.equal(reach.permits(packetTo({ to: '1.2.3.5', port: 22 })), false);
  assert.equal(reach.permits(packetTo({ to: '1.2.3.6' })), false);
  nowMs = 299_000;
  assert.equal(reach.permits(packetTo(target)), true, 'a short TTL does not cut a program off');
  nowMs = 301_000;
  assert.equal(reach.permits(packetTo(target)), false, 'nothing new after that');
  assert.equal(reach.permits(packetTo({ ...target, flags: TCP_FLAG.ack })), true, 'what is open goes on');
  reach.learn('example.org', address('1.2.3.4'), 5);
  assert.equal(reach.permits(packetTo(target)), true, 'asked again');
});

test('a name does not open a private address, except one that the owner of the host named', () => {
  const policy = { mode: 'allowlist', allow: ['rebind.example.org', 'db.lan'] } as const;
  const reach = new Reach(policy, { networks, exceptions: ['db.lan:5432'] });
  reach.learn('rebind.example.org', address('192.168.1.1'), 60);
  reach.learn('db.lan', address('192.168.1.2'), 60);
  assert.equal(reach.shows('rebind.example.org', address('192.168.1.1')), false);
  assert.equal(reach.shows('db.lan', address('192.168.1.2')), true);
  assert.equal(reach.permits(packetTo({ to: '192.168.1.1' })), false);
  assert.equal(reach.permits(packetTo({ to: '192.168.1.2', port: 5432 })), true);
  assert.equal(reach.permits(packetTo({ to: '192.168.1.2', port: 22 })), false);
});

test('the host’s networks are read again when they may have changed', () => {
  let nowMs = 0;
  let own = '198.51.100.1';
  const reach = new Reach({ mode: 'public' }, { nowMs: () => nowMs, networks: () => [parseCidr(own)!] });
  assert.equal(reach.permits(packetTo({ to: '198.51.100.1' })), false);
  assert.equal(reach.permits(packetTo({ to: '198.51.100.2' })), true);
  own = '198.51.100.2';
  nowMs = 11_000;
  assert.equal(reach.permits(packetTo({ to: '198.51.100.2' })), false);
  assert.equal(reach.permits(packetTo({ to: '198.51.100.1' })), true);
});

test('what a translator of the network wraps is private or not as it is without (F19)', async () => {
  const prefixes = [
    ['2001:db8:64::c000:aa', '2001:db8:64::7f00:1', '2001:db8:64::a00:1', '2001:db8:64::808:808'],
    [
      '2001:db8:122:344:c0:0:aa00:0',
      '2001:db8:122:344:7f:0:100:0',
      '2001:db8:122:344:a:0:100:0',
      '2001:db8:122:344:8:808:800:0',
    ],
    ['2001:db8:c000:ab::', '2001:db8:7f00:1::', '2001:db8:cb00:7102::', '2001:db8:808:808::'],
  ] as const;
  for (const [known, loopback, inside, outside] of prefixes) {
    const resolver = {
      resolve: async ({ name, question, type }: Query): Promise<Buffer> => {
        assert.deepEqual([name, type], ['ipv4only.arpa', TYPE.aaaa]);
        const records = ['2001:db8::1', known].map((text) => ({ name, type, data: bytesOfAddress(address(text)) }));
        return answer(Buffer.concat([Buffer.alloc(12), question]), records);
      },
    };
    const reach = new Reach({ mode: 'public' }, { networks });
    assert.ok(reach.permits(packetTo({ to: loopback })), 'an address like others, before');
    reach.translate(await nat64Prefixes(resolver, AbortSignal.timeout(5_000)));
    const targets = [loopback, inside, outside, '2001:db9::1'].map((to) => ({ to }));
    assert.deepEqual(reachable(reach, targets), [false, false, true, true], known);
  }
  const silent = { resolve: async () => undefined };
  assert.deepEqual(await nat64Prefixes(silent, AbortSignal.timeout(5_000)), []);
});

test('a list of rules is bounded and every rule is read', () => {
  const allow = Array.from({ length: 1_001 }, (_, index) => `h${index}.example.org`);
  assert.throws(() => new Reach({ mode: 'allowlist', allow }, { networks }), { code: 'ARGUMENT_INVALID' });
  assert.throws(() => new Reach({ mode: 'allowlist', allow: ['0x7f.1'] }, { networks }), { code: 'ARGUMENT_INVALID' });
});

test('learned addresses are bounded: the oldest is forgotten', () => {
  const reach = new Reach({ mode: 'allowlist', allow: ['*.example.org'] }, { networks });
  for (let index = 0; index < 10_001; index += 1) {
    reach.learn('a.example.org', address(`1.${index >> 16}.${(index >> 8) & 255}.${index & 255}`), 600);
  }
  assert.equal(reach.permits(packetTo({ to: '1.0.0.0' })), false);
  assert.equal(reach.permits(packetTo({ to: '1.0.0.1' })), true);
});
