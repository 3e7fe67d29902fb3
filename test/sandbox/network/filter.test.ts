import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Resolver } from '../../../src/sandbox/network/dns/resolver.ts';
import { addressOf, GATEWAY_MAC, macBytes } from '../../../src/sandbox/network/link.ts';
import { PROTOCOL, TCP_FLAG } from '../../../src/sandbox/network/packet.ts';
import { udpFrame } from '../../../src/sandbox/network/reply.ts';
import type { Far } from '../../../src/sandbox/network/tcp/connection.ts';
import { a, answer, query } from '../../support/network/dns-messages.ts';
import { bench, GATEWAY, PUBLIC } from '../../support/network/bench.ts';
import { arpRequest, checksumsAreRight, ip4, type ScriptedGuest, wire } from '../../support/network/guest.ts';

test('what the policy permits goes out, through sockets of the host', async () => {
  const dialled: string[] = [];
  const [stream] = wire();
  const dial = (host: string, port: number): Far => {
    dialled.push(`${host} ${port}`);
    return { stream, accepted: Promise.resolve() };
  };
  const { guest, flows, use } = bench({ dial });
  await guest.connect(PUBLIC, 443);
  assert.deepEqual(dialled, ['203.0.113.80 443']);
  guest.udp(PUBLIC, 443, 'datagram');
  await guest.settled();
  assert.deepEqual(
    flows.map(({ host, port, sent }) => [host, port, sent.join()]),
    [['203.0.113.80', 443, 'datagram']],
  );
  assert.deepEqual([use.snapshot().txPackets, use.snapshot().dropped], [4, 0]);
});

test('everything private is refused at once: TCP with a reset, the rest with an ICMP message', async () => {
  const { guest, flows, use } = bench();
  const targets = [
    ip4(127, 0, 0, 1),
    ip4(169, 254, 169, 254),
    ip4(10, 0, 2, 2),
    GATEWAY,
    ip4(192, 168, 1, 1),
    ip4(198, 51, 100, 7),
  ];
  for (const [index, target] of targets.entries()) {
    guest.segment(target, 80, { flags: TCP_FLAG.syn, sequence: index });
    const { packet, frame } = await guest.next();
    assert.equal(packet?.flags, TCP_FLAG.rst | TCP_FLAG.ack);
    assert.equal(frame.readUInt32BE(42), index + 1);
    assert.deepEqual(packet?.source, target);
    guest.udp(target, 80, 'x');
    const icmp = await guest.next();
    assert.deepEqual([icmp.packet?.protocol, icmp.packet?.icmpType, icmp.frame[35]], [PROTOCOL.icmp4, 3, 13]);
  }
  for (const target of ['fd00:ec2::254', '::1', 'fe80::1', '64:ff9b::7f00:1', '2002:a00:1::1'].map(addressOf)) {
    guest.segment(target, 80, { flags: TCP_FLAG.syn });
    assert.equal((await guest.next()).packet?.flags, TCP_FLAG.rst | TCP_FLAG.ack);
    guest.udp(target, 80, 'x');
    const icmp = await guest.next();
    assert.deepEqual([icmp.packet?.protocol, icmp.packet?.icmpType, icmp.frame[55]], [PROTOCOL.icmp6, 1, 1]);
  }
  assert.deepEqual(flows, []);
  const { dropped, refused } = use.snapshot();
  assert.equal(dropped, 2 * (targets.length + 5));
  assert.ok(refused.includes('tcp 169.254.169.254:80') && refused.includes('udp [fd00:ec2::254]:80'));
});

test('broadcast, multicast, foreign nameservers, other protocols and odd ICMP do not go out', async () => {
  const { guest, flows, use } = bench();
  guest.udp(ip4(255, 255, 255, 255), 67, 'x');
  guest.udp(ip4(224, 0, 0, 251), 5353, 'x');
  guest.udp(addressOf('ff02::fb'), 5353, 'x');
  guest.udp(ip4(1, 1, 1, 1), 53, 'x');
  guest.segment(ip4(1, 1, 1, 1), 853, { flags: TCP_FLAG.syn });
  const datagram = udpTo(guest, PUBLIC);
  for (const protocol of [0, 2, 4, 41, 47, 50, 132]) {
    const other = Buffer.from(datagram);
    other[23] = protocol;
    guest.sendFrame(other);
  }
  for (const type of [0, 3, 5, 8, 13]) {
    const icmp = Buffer.from(datagram);
    icmp[23] = PROTOCOL.icmp4;
    icmp[34] = type;
    guest.sendFrame(icmp);
  }
  await guest.settled();
  assert.deepEqual(flows, []);
  assert.equal(use.snapshot().dropped, 16, 'all but group membership');
  const pings = guest.heard().filter(({ packet, payload }) => packet?.icmpType === 3 && payload[9] === PROTOCOL.icmp4);
  assert.deepEqual(
    pings.map(({ frame, payload }) => [frame[35], payload[20]]),
    [[13, 8]],
    'a ping is told so at once, and no other ICMP is answered',
  );
});

/** Returns a valid UDP frame of the guest, to be damaged. */
function udpTo(guest: ScriptedGuest, destination: Uint32Array): Buffer {
  const ends = { guestMac: macBytes(GATEWAY_MAC), gatewayMac: macBytes(guest.link.mac) };
  const between = { source: guest.address, destination, sourcePort: 5_000, destinationPort: 9_999 };
  return Buffer.from(udpFrame(ends, between, Buffer.alloc(64)).subarray(4));
}

test('a guest cannot pretend to be somebody else', async () => {
  const { guest, flows, use } = bench();
  const good = udpTo(guest, PUBLIC);
  const otherMac = Buffer.from(good);
  otherMac[11] = otherMac[11]! ^ 1;
  const otherAddress = Buffer.from(good);
  otherAddress[29] = otherAddress[29]! ^ 1;
  const loopback = Buffer.from(good);
  loopback.set([127, 0, 0, 1], 26);
  for (const frame of [otherMac, otherAddress, loopback]) guest.sendFrame(frame);
  await guest.settled();
  assert.deepEqual(flows, []);
  assert.deepEqual(use.snapshot().refused.toSorted(), [
    'foreign MAC address',
    'foreign source address 10.118.37.3',
    'foreign source address 127.0.0.1',
  ]);
});

test('frames that could be read in two ways are dropped, and what follows a packet is no part of it', async () => {
  const { guest, flows, use } = bench();
  const good = udpTo(guest, PUBLIC);
  const damaged = (at: number, ...bytes: readonly number[]): Buffer => {
    const copy = Buffer.from(good);
    copy.set(bytes, at);
    return copy;
  };
  const tagged = Buffer.concat([good.subarray(0, 12), Buffer.from('81000001', 'hex'), good.subarray(12)]);
  const bad = [
    tagged,
    damaged(14, 0x46),
    damaged(20, 0x20),
    damaged(21, 1),
    damaged(16, 0xff),
    good.subarray(0, 20),
    Buffer.alloc(0),
  ];
  for (const frame of bad) guest.sendFrame(frame);
  guest.sendFrame(Buffer.alloc(70_000));
  await guest.settled();
  assert.equal(flows.length, 0);
  assert.equal(use.snapshot().dropped, bad.length + 1);
  guest.sendFrame(Buffer.concat([good, Buffer.from('hidden: another frame')]));
  await guest.settled();
  assert.deepEqual(flows[0]?.sent, [Buffer.alloc(64)]);
});

test('the gateway answers ARP and neighbour discovery, and small talk of a link is no refusal', async () => {
  const { guest, use } = bench();
  guest.sendFrame(arpRequest(guest.link));
  const { frame } = await guest.next();
  assert.deepEqual(frame.subarray(22, 28), macBytes(GATEWAY_MAC));
  const solicitation = Buffer.concat([
    Buffer.from('3333ff000001', 'hex'),
    macBytes(guest.link.mac),
    Buffer.from('86dd6000000000183aff', 'hex'),
    bytes16(guest.link.ip6),
    Buffer.from('ff0200000000000000000001ff000001', 'hex'),
    Buffer.from('8700000000000000', 'hex'),
    bytes16(guest.link.gateway6),
  ]);
  guest.sendFrame(solicitation);
  const advert = await guest.next();
  assert.equal(advert.packet?.icmpType, 136);
  const report = Buffer.from(solicitation);
  report[20] = 0; // hop-by-hop options, as group membership reports have
  guest.sendFrame(report);
  await guest.settled();
  assert.equal(use.snapshot().dropped, 0);
});

function bytes16(text: string | undefined): Buffer {
  const bytes = Buffer.alloc(16);
  addressOf(text ?? '').forEach((word, index) => bytes.writeUInt32BE(word, 4 * index));
  return bytes;
}

test('DNS is answered over UDP and over TCP, several questions on one connection', async () => {
  const resolver: Resolver = {
    resolve: async (asked) => {
      const records = Array.from({ length: 100 }, (_, index) => a(asked.name, `203.0.113.${index}`));
      return answer(Buffer.concat([Buffer.alloc(12), asked.question]), records);
    },
  };
  const { guest, flows } = bench({ resolver });
  guest.udp(GATEWAY, 53, query('a.example', 1, { edns: 8_000 }));
  const reply = await guest.next(({ packet }) => packet?.protocol === PROTOCOL.udp);
  assert.equal(reply.payload.readUInt16BE(6), 100);
  assert.ok(checksumsAreRight(reply.frame));
  const connection = await guest.connect(GATEWAY, 53);
  const question = query('a.example');
  const length = Buffer.alloc(2);
  length.writeUInt16BE(question.length, 0);
  const asked = Buffer.concat([length, question]);
  connection.write(asked.subarray(0, 1));
  connection.write(asked.subarray(1, 9));
  connection.write(Buffer.concat([asked.subarray(9), asked]));
  const first = await connection.read(2);
  const bytes = first.readUInt16BE(0) + 2;
  const both = Buffer.concat([first, await connection.read(2 * bytes - first.length)]);
  assert.equal(both.length, 2 * bytes);
  assert.equal(both.subarray(bytes + 2).readUInt16BE(6), 100);
  connection.end();
  await connection.read();
  assert.equal(connection.ended, true);
  assert.deepEqual(flows, [], 'names are asked by the host');
});

test('DNS connections that ask for too much are ended, others go on', async () => {
  const { guest } = bench({ resolver: { resolve: async () => undefined } });
  const greedy = await guest.connect(GATEWAY, 53, 42_000);
  greedy.write(Buffer.concat([Buffer.from([0xff, 0xff]), Buffer.alloc(3_900)]));
  greedy.write(Buffer.alloc(3_900));
  assert.equal((await greedy.read()).length, 0);
  for (let port = 43_000; port < 43_100; port += 1) await guest.connect(GATEWAY, 53, port);
  const connection = await guest.connect(GATEWAY, 53, 44_000);
  connection.write(Buffer.concat([Buffer.from([0, 27]), query('a.example')]));
  assert.ok((await connection.read(2)).length > 2);
});

test('a flood of refused packets gets a bounded number of answers and a bounded summary', async () => {
  const { guest, use } = bench();
  for (let index = 0; index < 3_000; index += 1) {
    guest.segment(ip4(10, 1, index >> 8, index & 255), 80, { flags: TCP_FLAG.syn });
  }
  await guest.settled();
  assert.ok(guest.heard().length <= 2_000, `${guest.heard().length} answers`);
  const { dropped, refused } = use.snapshot();
  assert.equal(dropped, 3_000);
  assert.equal(refused.length, 20);
  assert.equal(refused[0], 'others');
});
