import assert from 'node:assert/strict';
import { setImmediate } from 'node:timers/promises';
import { test } from 'node:test';
import { addressOf, GATEWAY_MAC, macBytes } from '../../../src/sandbox/network/link.ts';
import { TCP_FLAG } from '../../../src/sandbox/network/packet.ts';
import { tcpFrame, udpFrame } from '../../../src/sandbox/network/reply.ts';
import type { Far } from '../../../src/sandbox/network/tcp/connection.ts';
import { query } from '../../support/network/dns-messages.ts';
import { bench, GATEWAY, PUBLIC, reachOfBench } from '../../support/network/bench.ts';
import { wire } from '../../support/network/guest.ts';
import { Random } from '../../support/random.ts';

test('no frame, and no answer, breaks the filter or gets past it to a private address', async () => {
  const dialled = new Set<string>();
  const dial = (host: string): Far => {
    dialled.add(host);
    return { stream: wire()[0], accepted: Promise.resolve() };
  };
  const { guest, flows } = bench({ dial, resolver: { resolve: async () => Buffer.from('nonsense') } });
  const ends = { guestMac: macBytes(GATEWAY_MAC), gatewayMac: macBytes(guest.link.mac) };
  const six = {
    source: addressOf(guest.link.ip6 ?? ''),
    destination: addressOf('2001:db8::1'),
    sourcePort: 5_000,
    destinationPort: 80,
  };
  const four = { source: guest.address, destination: PUBLIC, sourcePort: 5_000, destinationPort: 80 };
  const segment = {
    sequence: 1,
    acknowledgement: 0,
    flags: 2,
    windowBytes: 9_000,
    options: Buffer.from([3, 3, 7, 2, 4, 5, 180, 0]),
  };
  const toDns = { ...four, destination: GATEWAY, destinationPort: 53 };
  const seeds = [
    tcpFrame(ends, four, segment),
    tcpFrame(ends, six, segment),
    udpFrame(ends, six, Buffer.alloc(60)),
    udpFrame(ends, toDns, query('a.example')),
    tcpFrame(ends, toDns, segment),
    tcpFrame(ends, toDns, {
      ...segment,
      flags: 16,
      payload: Buffer.concat([Buffer.from([0, 27]), query('a.example')]),
    }),
  ].map((framed) => framed.subarray(4));
  const random = new Random(7);
  guest.segment(PUBLIC, 80, { flags: TCP_FLAG.syn });
  for (let round = 0; round < 20_000; round += 1) {
    const frame = Buffer.from(seeds[round % seeds.length]!);
    random.mutate(frame, random.below(3) === 0 ? 0 : 14);
    guest.sendFrame(frame);
    if (round % 10 === 0) flows.at(-1)?.heard.datagram(Buffer.alloc(random.below(20_000), round));
    if (round % 16 === 0) flows.at(-1)?.heard.failed('ECONNREFUSED', random.below(2) === 0);
    if (round % 500 === 0) await setImmediate();
  }
  await guest.settled();
  const judge = reachOfBench();
  assert.ok(flows.length > 100);
  for (const { host } of flows) assert.equal(judge.isPrivate(addressOf(host)), false, host);
  assert.ok(dialled.size > 10);
  for (const host of dialled) assert.equal(judge.isPrivate(addressOf(host)), false, host);
});
