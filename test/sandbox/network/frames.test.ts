import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FrameReader } from '../../../src/sandbox/network/frames.ts';
import { emptyPacket, parsePacket } from '../../../src/sandbox/network/packet.ts';
import {
  arpReply,
  neighbourAdvertisement,
  tcpFrame,
  tcpReset,
  udpFrame,
  destinationUnreachable,
} from '../../../src/sandbox/network/reply.ts';
import { addressOf, macBytes } from '../../../src/sandbox/network/link.ts';
import { checksumsAreRight } from '../../support/network/guest.ts';
import { Random } from '../../support/random.ts';

const ENDS = { guestMac: macBytes('02:00:00:00:00:02'), gatewayMac: macBytes('02:00:00:00:00:01') };

/** Returns bytes from hexadecimal digits, with spaces for readability. */
function hex(text: string): Buffer {
  return Buffer.from(text.replaceAll(' ', ''), 'hex');
}

/** A frame without its length. */
function bare(framed: Buffer): Buffer {
  assert.equal(framed.readUInt32BE(0), framed.length - 4);
  return framed.subarray(4);
}

function framed(frame: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(frame.length, 0);
  return Buffer.concat([length, frame]);
}

test('FrameReader gives the same frames however the stream is cut, and skips what is too long', () => {
  for (let seed = 1; seed <= 60; seed += 1) {
    const random = new Random(seed);
    const frames = Array.from({ length: 40 }, (_, index) => {
      const long = random.below(12) === 0;
      return Buffer.alloc(long ? 66_000 + random.below(100_000) : random.below(5_000), index);
    });
    const stream = Buffer.concat(frames.map(framed));
    const got: Buffer[] = [];
    let oversize = 0;
    const reader = new FrameReader(
      (whole) => got.push(Buffer.from(whole)),
      () => (oversize += 1),
    );
    for (let at = 0; at < stream.length;) {
      const size = random.below(4) === 0 ? 1 + random.below(9) : 1 + random.below(70_000);
      reader.push(stream.subarray(at, at + size));
      at += size;
    }
    const expected = frames.filter((frame) => frame.length <= 65_553).map(framed);
    assert.deepEqual(Buffer.concat(got), Buffer.concat(expected), `seed ${seed}`);
    assert.equal(oversize, frames.length - expected.length, `seed ${seed}`);
  }
});

test('FrameReader looks at so many frames and goes on where it was', () => {
  const frames = Array.from({ length: 10 }, (_, index) => Buffer.alloc(20, index));
  const got: number[] = [];
  let oversize = 0;
  const reader = new FrameReader(
    (whole) => got.push(whole[4] ?? -1),
    () => (oversize += 1),
  );
  const tooLong = Buffer.concat([hex('00020000'), Buffer.alloc(0x20000)]);
  const stream = Buffer.concat([...frames.slice(0, 5).map(framed), tooLong, ...frames.slice(5).map(framed)]);
  assert.equal(reader.push(stream, 3), 3);
  assert.deepEqual([got, reader.isBehind], [[0, 1, 2], true]);
  assert.equal(reader.push(Buffer.alloc(0), 2), 2);
  assert.ok(reader.isBehind, 'a frame that is too long is not waited for');
  assert.equal(reader.push(hex('00000014 ff'), 3), 3);
  assert.deepEqual([got.length, oversize], [7, 1]);
  assert.equal(reader.push(Buffer.alloc(0), 9), 3);
  assert.equal(reader.isBehind, false);
  assert.equal(reader.push(Buffer.alloc(19, 0xff), 9), 1);
  assert.deepEqual(got, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0xff]);
});

test('FrameReader does not hold a frame of 4 GiB', () => {
  let oversize = 0;
  const reader = new FrameReader(
    () => assert.fail('a frame'),
    () => (oversize += 1),
  );
  reader.push(hex('ffffffff'));
  const before = process.memoryUsage().arrayBuffers;
  const chunk = Buffer.alloc(1024 * 1024);
  for (let count = 0; count < 64; count += 1) reader.push(Buffer.from(chunk));
  assert.equal(oversize, 1);
  assert.ok(process.memoryUsage().arrayBuffers - before < 80 * 1024 * 1024);
});

test('replies are the bytes that the RFCs ask for', () => {
  const between = {
    source: addressOf('10.0.0.1'),
    destination: addressOf('10.0.0.2'),
    sourcePort: 53,
    destinationPort: 4_660,
  };
  const udp = bare(udpFrame(ENDS, between, Buffer.from('abc')));
  // Summed by hand.
  assert.deepEqual(
    udp,
    hex('0200000000020200000000010800 4500001f000040004011 26cc 0a0000010a000002 00351234000b 150a 616263'),
  );
  assert.ok(checksumsAreRight(udp));
  const six = { ...between, source: addressOf('fd00::1'), destination: addressOf('fd00::2') };
  const segment = {
    sequence: 1,
    acknowledgement: 2,
    flags: 0x12,
    windowBytes: 512,
    options: Buffer.from([2, 4, 5, 180]),
  };
  for (const ends of [between, six]) {
    assert.ok(checksumsAreRight(bare(tcpFrame(ENDS, ends, segment))));
    assert.ok(checksumsAreRight(bare(tcpFrame(ENDS, ends, { ...segment, payload: Buffer.from('odd') }))));
    assert.ok(checksumsAreRight(bare(udpFrame(ENDS, ends, Buffer.alloc(3_000, 0xff)))));
  }
});

test('a refused segment is reset as RFC 9293 has it', () => {
  const between = {
    source: addressOf('10.0.0.2'),
    destination: addressOf('10.0.0.9'),
    sourcePort: 1_000,
    destinationPort: 22,
  };
  const reset = (
    flags: number,
    payload = Buffer.alloc(0),
  ): { flags: number; sequence: number; acknowledgement: number } | undefined => {
    const sent = bare(
      tcpFrame(ENDS, between, { sequence: 0xffff_ffff, acknowledgement: 77, flags, windowBytes: 1, payload }),
    );
    const packet = emptyPacket();
    assert.equal(parsePacket(sent, packet), undefined);
    const answer = tcpReset(ENDS, sent, packet);
    if (answer === undefined) return undefined;
    const frame = bare(answer);
    assert.ok(checksumsAreRight(frame));
    assert.equal(parsePacket(frame, packet), undefined);
    assert.deepEqual([packet.sourcePort, packet.destinationPort], [22, 1_000]);
    return { flags: packet.flags, sequence: frame.readUInt32BE(38), acknowledgement: frame.readUInt32BE(42) };
  };
  assert.deepEqual(reset(0x02), { flags: 0x14, sequence: 0, acknowledgement: 0 });
  assert.deepEqual(reset(0x02, Buffer.from('early')), { flags: 0x14, sequence: 0, acknowledgement: 5 });
  assert.deepEqual(reset(0x10), { flags: 0x04, sequence: 77, acknowledgement: 0 });
  assert.equal(reset(0x04), undefined, 'a reset is never answered');
});

test('ARP, neighbour discovery and refusals are answered correctly, and only what asks for it', () => {
  const asked = hex('ffffffffffff 020000000002 0806 0001080006040001 020000000002 0a000002 000000000000 0a000001');
  const gateway = Buffer.from([10, 0, 0, 1]);
  const arp = arpReply(ENDS, asked, gateway);
  assert.ok(arp);
  assert.deepEqual(bare(arp).subarray(14), hex('0001080006040002 020000000001 0a000001 020000000002 0a000002'));
  assert.equal(arpReply(ENDS, asked, Buffer.from([10, 0, 0, 3])), undefined);
  assert.equal(arpReply(ENDS, asked.subarray(0, 30), gateway), undefined);

  const packet = emptyPacket();
  const solicited = Buffer.concat([
    hex('3333ff000001 020000000002 86dd 6000000000203aff'),
    hex('fd000000000000000000000000000002 ff0200000000000000000001ff000001'),
    hex('87000000 00000000 fd000000000000000000000000000001 0101020000000002'),
  ]);
  assert.equal(parsePacket(solicited, packet), undefined);
  const advert = neighbourAdvertisement(ENDS, solicited, packet, addressOf('fd00::1'));
  assert.ok(advert && checksumsAreRight(bare(advert)));
  assert.equal(neighbourAdvertisement(ENDS, solicited, packet, addressOf('fd00::3')), undefined);

  const between = {
    source: addressOf('10.0.0.2'),
    destination: addressOf('10.0.0.9'),
    sourcePort: 1,
    destinationPort: 9,
  };
  const datagram = bare(udpFrame(ENDS, between, Buffer.alloc(100)));
  assert.equal(parsePacket(datagram, packet), undefined);
  const refusal = bare(destinationUnreachable(ENDS, { frame: datagram, packet }, addressOf('10.0.0.1'), 'prohibited'));
  assert.ok(checksumsAreRight(refusal));
  assert.deepEqual([refusal[34], refusal[35], refusal.length], [3, 13, 14 + 20 + 8 + 28]);
});

test('parsePacket() reads valid packets and names what is wrong with others', () => {
  const packet = emptyPacket();
  const between = {
    source: addressOf('10.0.0.2'),
    destination: addressOf('1.1.1.1'),
    sourcePort: 5_000,
    destinationPort: 443,
  };
  const valid = bare(
    tcpFrame(ENDS, between, { sequence: 1, acknowledgement: 0, flags: 2, windowBytes: 9, payload: Buffer.from('hi') }),
  );
  assert.equal(parsePacket(valid, packet), undefined);
  assert.deepEqual([packet.protocol, packet.sourcePort, packet.destinationPort, packet.flags], [6, 5_000, 443, 2]);
  assert.equal(valid.subarray(packet.payload, packet.end).toString(), 'hi');

  const changed = (at: number, ...bytes: readonly number[]): Buffer => {
    const copy = Buffer.from(valid);
    copy.set(bytes, at);
    return copy;
  };
  const cases: readonly (readonly [string, Buffer])[] = [
    ['too short', valid.subarray(0, 13)],
    ['too short', valid.subarray(0, 30)],
    ['unknown ethertype', changed(12, 0x81, 0x00)],
    ['wrong version', changed(14, 0x65)],
    ['IP options', changed(14, 0x46)],
    ['wrong length', changed(16, 0xff, 0xff)],
    ['wrong length', changed(16, 0, 19)],
    ['wrong length', valid.subarray(0, valid.length - 1)],
    ['fragment', changed(20, 0x20, 0)],
    ['fragment', changed(20, 0, 1)],
    ['bad TCP header', changed(46, 0x40)],
    ['bad TCP header', changed(46, 0xf0)],
  ];
  for (const [expected, frame] of cases) assert.equal(parsePacket(frame, packet), expected);

  const datagram = bare(udpFrame(ENDS, between, Buffer.alloc(8)));
  datagram.writeUInt16BE(15, 38);
  assert.equal(parsePacket(datagram, packet), 'bad UDP header', 'two lengths disagree');
  const six = { ...between, source: addressOf('fd00::2'), destination: addressOf('2001:db8::1') };
  const over6 = bare(udpFrame(ENDS, six, Buffer.alloc(8)));
  assert.equal(parsePacket(over6, packet), undefined);
  for (const header of [0, 43, 44, 50, 51, 60]) {
    over6[20] = header;
    assert.equal(parsePacket(over6, packet), 'extension header', `next header ${header}`);
  }
});

test('no frame makes parsePacket() throw or point outside it', () => {
  const between = {
    source: addressOf('10.0.0.2'),
    destination: addressOf('1.1.1.1'),
    sourcePort: 5_000,
    destinationPort: 443,
  };
  const six = { ...between, source: addressOf('fd00::2'), destination: addressOf('2001:db8::1') };
  const segment = { sequence: 1, acknowledgement: 0, flags: 2, windowBytes: 9, payload: Buffer.alloc(40) };
  const seeds = [
    tcpFrame(ENDS, between, segment),
    tcpFrame(ENDS, six, segment),
    udpFrame(ENDS, six, Buffer.alloc(60)),
  ].map(bare);
  const packet = emptyPacket();
  for (let seed = 1; seed <= 20_000; seed += 1) {
    const random = new Random(seed);
    const frame = Buffer.from(seeds[seed % seeds.length]!);
    random.mutate(frame, 12);
    const cut = frame.subarray(0, random.below(8) === 0 ? random.below(frame.length) : frame.length);
    if (parsePacket(cut, packet) !== undefined) continue;
    const { transport, payload, end } = packet;
    assert.ok(14 < transport && transport <= payload && payload <= end && end <= cut.length, `seed ${seed}`);
  }
});
