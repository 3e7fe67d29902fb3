import assert from 'node:assert/strict';
import { test } from 'node:test';
import { addressOf, macBytes } from '../../../src/sandbox/network/link.ts';
import { emptyPacket, parsePacket, PROTOCOL } from '../../../src/sandbox/network/packet.ts';
import { udpFrame } from '../../../src/sandbox/network/reply.ts';
import { FlowBudget } from '../../../src/sandbox/network/udp/budget.ts';
import { UdpRelay } from '../../../src/sandbox/network/udp/relay.ts';
import { bench, PUBLIC } from '../../support/network/bench.ts';
import { checksumsAreRight } from '../../support/network/guest.ts';

const FLOWS_MAX = 256;

test('a guest that sends from every port holds a bounded number of sockets (F4)', async () => {
  const { guest, flows, use, detach } = bench();
  for (let port = 32_768; port < 61_000; port += 1) guest.udp(PUBLIC, 9_999, 'x', port);
  await guest.settled();
  const open = flows.filter(({ closed }) => !closed);
  assert.equal(open.length, FLOWS_MAX);
  assert.ok(flows.length < 2 * FLOWS_MAX + 2_000, `${flows.length} were opened`);
  assert.ok(use.snapshot().refused.includes('udp: too many new flows'));
  detach();
  assert.ok(flows.every(({ closed }) => closed));
});

test('a flow is one port of the guest and one destination, and is used again', async () => {
  const { guest, flows } = bench();
  const other = addressOf('203.0.113.81');
  for (let round = 0; round < 3; round += 1) {
    guest.udp(PUBLIC, 443, `a${round}`, 5_000);
    guest.udp(PUBLIC, 443, `b${round}`, 5_001);
    guest.udp(PUBLIC, 444, `c${round}`, 5_000);
    guest.udp(other, 443, `d${round}`, 5_000);
    guest.udp(addressOf('2001:db8::1'), 443, `e${round}`, 5_000);
  }
  await guest.settled();
  assert.deepEqual(
    flows.map(({ host, port, sent }) => `${host} ${port} ${sent.join()}`),
    [
      '203.0.113.80 443 a0,a1,a2',
      '203.0.113.80 443 b0,b1,b2',
      '203.0.113.80 444 c0,c1,c2',
      '203.0.113.81 443 d0,d1,d2',
      '2001:db8::1 443 e0,e1,e2',
    ],
  );
});

test('answers reach the port that asked, in both families, and what is too large for the link does not', async () => {
  const { guest, flows } = bench();
  for (const target of [PUBLIC, addressOf('2001:db8::1')]) {
    guest.udp(target, 443, 'x', 5_000);
    await guest.settled();
    const { heard } = flows.at(-1)!;
    heard.datagram(Buffer.alloc(65_500));
    heard.datagram(Buffer.from('reply'));
    const { packet, payload, frame } = await guest.next();
    assert.equal(payload.toString(), 'reply');
    assert.deepEqual([packet?.source, packet?.sourcePort, packet?.destinationPort], [target, 443, 5_000]);
    assert.ok(checksumsAreRight(frame));
  }
});

test('what the host says of a datagram the guest is told, with the headers of what it sent', async () => {
  const { guest, flows } = bench();
  const told = { ECONNREFUSED: [3, 4], EHOSTUNREACH: [1, 3], ENETUNREACH: [0, 0], EACCES: [13, 1] } as const;
  for (const [code, [code4, code6]] of Object.entries(told)) {
    for (const [target, expected] of [[PUBLIC, code4] as const, [addressOf('2001:db8::1'), code6] as const]) {
      guest.udp(target, 443, 'x', 5_000);
      await guest.settled();
      const flow = flows.at(-1)!;
      flow.heard.failed(code, true);
      const { frame, packet, payload } = await guest.next();
      assert.ok(checksumsAreRight(frame));
      const v4 = target === PUBLIC;
      assert.deepEqual([packet?.protocol, frame[v4 ? 35 : 55]], [v4 ? PROTOCOL.icmp4 : PROTOCOL.icmp6, expected]);
      assert.equal(payload.readUInt16BE(v4 ? 20 : 40), 5_000);
      assert.ok(flow.closed, 'a socket that is of no more use is closed');
    }
  }
  flows.at(-1)!.heard.failed('ENOBUFS', false);
  await guest.settled();
  assert.deepEqual(guest.heard(), []);
});

test('a full engine takes flows from the run that has most, not from others', async () => {
  const budget = new FlowBudget(100);
  const greedy = bench({ budget });
  const modest = bench({ budget });
  const open = ({ flows }: typeof greedy): number => flows.filter(({ closed }) => !closed).length;
  for (let port = 1_000; port < 1_200; port += 1) greedy.guest.udp(PUBLIC, 443, 'x', port);
  await greedy.guest.settled();
  assert.equal(open(greedy), 100);
  for (let port = 1_000; port < 1_010; port += 1) modest.guest.udp(PUBLIC, 443, 'x', port);
  await modest.guest.settled();
  assert.deepEqual([open(greedy), open(modest)], [90, 10]);
  greedy.guest.udp(PUBLIC, 443, 'x', 2_000);
  await greedy.guest.settled();
  assert.deepEqual([open(greedy), open(modest)], [90, 10]);
  greedy.detach();
  for (let port = 2_000; port < 2_080; port += 1) modest.guest.udp(PUBLIC, 443, 'x', port);
  await modest.guest.settled();
  assert.equal(open(modest), 90, 'what a run had is free when it ends');
});

test('an idle flow is closed, and only the guest keeps one', (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  let nowMs = 0;
  let open = 0;
  const packet = emptyPacket();
  const heard: ((payload: Buffer) => void)[] = [];
  using relay = new UdpRelay({
    mtuBytes: 1_500,
    budget: new FlowBudget(),
    send: () => {},
    failed: () => {},
    nowMs: () => nowMs,
    dial: (_address, _port, { datagram }) => {
      open += 1;
      heard.push(datagram);
      return { send: () => {}, [Symbol.dispose]: () => void (open -= 1) };
    },
  });
  const say = (sourcePort: number): void => {
    const ends = { guestMac: macBytes('02:00:00:00:00:02'), gatewayMac: macBytes('02:00:00:00:00:01') };
    const between = { source: addressOf('10.0.0.2'), destination: PUBLIC, sourcePort, destinationPort: 443 };
    const frame = udpFrame(ends, between, Buffer.from('x')).subarray(4);
    assert.equal(parsePacket(frame, packet), undefined);
    assert.ok(relay.receive(frame, packet));
  };
  say(1);
  say(2);
  nowMs = 100_000;
  say(1);
  heard[1]?.(Buffer.from('still here'));
  nowMs = 119_000;
  t.mock.timers.tick(5_000);
  assert.equal(open, 2);
  nowMs = 125_000;
  t.mock.timers.tick(5_000);
  assert.equal(open, 1);
  nowMs = 221_000;
  t.mock.timers.tick(5_000);
  assert.equal(open, 0);
});
