import assert from 'node:assert/strict';
import { createSocket, type RemoteInfo } from 'node:dgram';
import { createServer, type AddressInfo } from 'node:net';
import { test } from 'node:test';
import { formatAddress, parseAddress, type Address } from '../../../src/std/ip/address.ts';
import { parseResponse, parseQuery, type Query } from '../../../src/sandbox/network/dns/message.ts';
import { forwardingResolver, type Nameserver, type Resolver } from '../../../src/sandbox/network/dns/resolver.ts';
import { DnsServer } from '../../../src/sandbox/network/dns/server.ts';
import type { NetworkPolicy } from '../../../src/sandbox/driver.ts';
import { Reach, type ReachOptions } from '../../../src/sandbox/network/reach.ts';
import {
  a,
  answer,
  askedName,
  cname,
  nameBytes,
  query,
  record,
  TYPE,
  type TestRecord,
} from '../../support/network/dns-messages.ts';
import { Random } from '../../support/random.ts';

function readable(message: Buffer): Query {
  const parsed = parseQuery(message);
  assert.ok(parsed !== undefined && !('rcode' in parsed));
  return parsed;
}

/** Summary of an answer: its code, its addresses, and the number of its records. */
function read(reply: Buffer | undefined, asked: Buffer): { rcode: number; addresses: string[]; count: number } {
  assert.ok(reply);
  assert.equal(reply.readUInt16BE(0), asked.readUInt16BE(0), 'the id');
  assert.equal(reply[2]! & 0x80, 0x80, 'a response');
  const parsed = parseResponse(reply, readable(asked));
  assert.ok(parsed);
  const addresses = parsed.answers.flatMap(({ address }) => (address === undefined ? [] : [formatAddress(address)]));
  return { rcode: parsed.rcode, addresses, count: parsed.answers.length };
}

/** A server whose upstream has these records, by name. */
function serve(
  policy: Exclude<NetworkPolicy, { mode: 'none' }>,
  known: Readonly<Record<string, readonly TestRecord[]>>,
  options: ReachOptions & { readonly hosts?: ReadonlyMap<string, Address> } = {},
): { server: DnsServer; refused: string[]; asked: string[]; reach: Reach } {
  const refused: string[] = [];
  const asked: string[] = [];
  const reach = new Reach(policy, { networks: () => [], ...options });
  const resolver: Resolver = {
    resolve: async (wanted) => {
      asked.push(wanted.name);
      const records = known[wanted.name];
      const message = Buffer.concat([Buffer.from('00000100000100000000', 'hex'), Buffer.alloc(2), wanted.question]);
      return answer(message, records ?? [], { flags: records === undefined ? 0x8183 : 0x8180 });
    },
  };
  const { hosts = new Map<string, Address>() } = options;
  const server = new DnsServer(
    { resolver, reach, hosts, refused: (name) => refused.push(name) },
    new AbortController().signal,
  );
  return { server, refused, asked, reach };
}

test('names are resolved through the upstream, in the guest’s own words', async () => {
  const { server } = serve(
    { mode: 'public' },
    { 'www.example.org': [cname('www.example.org', 'cdn.example.net'), a('cdn.example.net', '203.0.113.5')] },
  );
  const asked = query('WWW.Example.org');
  const reply = await server.answer(asked, 'udp');
  assert.deepEqual(read(reply, asked), { rcode: 0, addresses: ['203.0.113.5'], count: 2 });
  assert.equal(askedName(reply!), 'WWW.Example.org', 'the question comes back as it was');
  const missing = query('nothing.example.org');
  assert.equal(read(await server.answer(missing, 'udp'), missing).rcode, 3);
});

test('addresses of private networks are taken out of answers', async () => {
  const known = {
    'rebind.example.org': [a('rebind.example.org', '192.168.1.1')],
    'mixed.example.org': [
      cname('mixed.example.org', 'x.example.org'),
      a('x.example.org', '203.0.113.5'),
      a('x.example.org', '127.0.0.1'),
    ],
    'db.lan': [a('db.lan', '10.0.0.5')],
  };
  const { server, refused } = serve({ mode: 'public' }, known, { exceptions: ['10.0.0.5:5432'] });
  const rebind = query('rebind.example.org');
  assert.deepEqual(read(await server.answer(rebind, 'udp'), rebind), { rcode: 0, addresses: [], count: 0 });
  const mixed = query('mixed.example.org');
  assert.deepEqual(read(await server.answer(mixed, 'udp'), mixed).addresses, ['203.0.113.5']);
  assert.deepEqual(refused, ['rebind.example.org (private address)', 'mixed.example.org (private address)']);
  const excepted = query('db.lan');
  assert.deepEqual(read(await server.answer(excepted, 'udp'), excepted).addresses, ['10.0.0.5']);
});

test('private addresses in any kind of answer are taken out, IPv6 forms too', async () => {
  for (const text of ['::1', 'fd00::1', '::ffff:10.0.0.1', '64:ff9b::a00:1', '2002:a00:1::1']) {
    const { server } = serve(
      { mode: 'public' },
      { 'x.org': [{ name: 'x.org', type: TYPE.aaaa, data: bytes16(text) }] },
    );
    for (const type of [TYPE.aaaa, 255]) {
      const asked = query('x.org', type);
      assert.deepEqual(read(await server.answer(asked, 'udp'), asked).addresses, [], text);
    }
  }
});

function bytes16(text: string): Buffer {
  const address = parseAddress(text);
  assert.ok(address);
  const bytes = Buffer.alloc(16);
  address.forEach((word, index) => bytes.writeUInt32BE(word, 4 * index));
  return bytes;
}

test('in mode allowlist only listed names exist, and their addresses become reachable through aliases', async () => {
  const known = {
    'pypi.example': [
      cname('pypi.example', 'cdn.example'),
      a('cdn.example', '203.0.113.5', 30),
      a('stray.example', '203.0.113.6'),
    ],
    'evil.example': [a('evil.example', '203.0.113.7')],
  };
  const { server, refused, asked, reach } = serve({ mode: 'allowlist', allow: ['pypi.example'] }, known);
  const evil = query('evil.example');
  assert.equal(read(await server.answer(evil, 'udp'), evil).rcode, 3);
  assert.deepEqual([refused, asked], [['evil.example'], []], 'the upstream never hears of it');
  const listed = query('PyPI.example.'.slice(0, -1));
  await server.answer(listed, 'udp');
  const reaches = (text: string): boolean => {
    const target = {
      family: 4,
      protocol: 6,
      source: new Uint32Array(4),
      destination: parseAddress(text)!,
      flags: 2,
    } as const;
    return reach.permits({
      ...target,
      sourcePort: 1,
      destinationPort: 443,
      icmpType: 0,
      transport: 0,
      payload: 0,
      end: 0,
    });
  };
  assert.deepEqual(['203.0.113.5', '203.0.113.6', '203.0.113.7'].map(reaches), [true, false, false]);
});

test('names of private addresses are not looked up, and host names of our own are answered', async () => {
  const hosts = new Map([['host.contree.internal', parseAddress('10.118.37.1')!]]);
  const { server, asked } = serve({ mode: 'public' }, {}, { hosts, exceptions: ['10.118.37.1:80'] });
  for (const name of [
    '1.1.168.192.in-addr.arpa',
    '10.in-addr.arpa',
    '1.0.0.127.in-addr.arpa',
    '8.b.d.0.1.0.0.2.c.f.ip6.arpa',
    `${'0.'.repeat(31)}0.ip6.arpa`,
  ]) {
    const reverse = query(name, TYPE.ptr);
    const { rcode } = read(await server.answer(reverse, 'udp'), reverse);
    assert.equal(rcode, 3, name);
  }
  assert.equal(asked.length, 0, 'the upstream never hears of them');
  const forward = query('5.113.0.203.in-addr.arpa', TYPE.ptr);
  await server.answer(forward, 'udp');
  assert.ok(asked.includes('5.113.0.203.in-addr.arpa'));
  const host = query('host.contree.internal');
  assert.deepEqual(read(await server.answer(host, 'udp'), host).addresses, ['10.118.37.1']);
  const six = query('host.contree.internal', TYPE.aaaa);
  assert.deepEqual(read(await server.answer(six, 'udp'), six), { rcode: 0, addresses: [], count: 0 });
});

test('an answer that does not fit a datagram is asked for again over TCP', async () => {
  const many = Array.from({ length: 60 }, (_, index) => a('big.example', `203.0.113.${index}`));
  const { server } = serve({ mode: 'public' }, { 'big.example': many });
  const plain = query('big.example');
  const short = await server.answer(plain, 'udp');
  assert.ok(short && short.length <= 512 && (short[2]! & 0x02) !== 0, 'truncated');
  const whole = await server.answer(plain, 'tcp');
  assert.equal(read(whole, plain).count, 60);
  const edns = query('big.example', TYPE.a, { edns: 4_096 });
  const fits = await server.answer(edns, 'udp');
  assert.equal(read(fits, edns).count, 60);
  assert.equal(fits?.readUInt16BE(10), 1, 'EDNS is answered with EDNS');
});

test('malformed and unsupported questions get a code or nothing', async () => {
  const { server } = serve({ mode: 'public' }, {});
  const rcodeOf = async (message: Buffer): Promise<number | undefined> => (await server.answer(message, 'udp'))?.[3];
  const valid = query('a.example');
  const changed = (at: number, value: number): Buffer => {
    const copy = Buffer.from(valid);
    copy[at] = value;
    return copy;
  };
  assert.equal(await rcodeOf(valid.subarray(0, 11)), undefined, 'no header');
  assert.equal(await rcodeOf(changed(2, 0x81)), undefined, 'a response');
  assert.equal(((await rcodeOf(changed(2, 0x29))) ?? 0) & 15, 4, 'an update');
  assert.equal(((await rcodeOf(changed(5, 2))) ?? 0) & 15, 1, 'two questions');
  assert.equal(((await rcodeOf(changed(5, 0))) ?? 0) & 15, 1, 'no question');
  assert.equal(((await rcodeOf(valid.subarray(0, -1))) ?? 0) & 15, 1, 'cut off');
  assert.equal(((await rcodeOf(changed(12, 0xc0))) ?? 0) & 15, 1, 'a pointer in the question');
  assert.equal(((await rcodeOf(changed(valid.length - 1, 3))) ?? 0) & 15, 4, 'class CHAOS');
});

test('compression pointers that loop or lead forward end', () => {
  const asked = query('a.example');
  const loops = ['c01b', 'c0ff', 'c01d', '3f61'].map((pointer) => {
    const message = Buffer.concat([answer(asked, [a('a.example', '203.0.113.1')])]);
    message.write(pointer, asked.length, 'hex');
    return message;
  });
  for (const message of loops) assert.equal(parseResponse(message, readable(asked)), undefined);
  // The ordinary form: the owner is a pointer to the question.
  const ordinary = Buffer.concat([
    answer(asked, []).fill(1, 7, 8),
    Buffer.from('c00c', 'hex'),
    record(a('', '203.0.113.1')).subarray(1),
  ]);
  assert.equal(parseResponse(ordinary, readable(asked))?.answers[0]?.name, 'a.example');
});

test('no message makes the parsers throw, and no name carries a separator it did not have', async () => {
  const asked = query('a.example', TYPE.a, { edns: 1_232 });
  const whole = answer(asked, [cname('a.example', 'b.example'), a('b.example', '203.0.113.1')], {
    authority: [cname('x.y', 'z')],
  });
  for (let seed = 1; seed <= 20_000; seed += 1) {
    const random = new Random(seed);
    const bytes = Buffer.from(seed % 2 === 0 ? asked : whole);
    random.mutate(bytes, 2);
    const cut = bytes.subarray(0, random.below(6) === 0 ? random.below(bytes.length) : bytes.length);
    const parsed = seed % 2 === 0 ? parseQuery(cut) : parseResponse(cut, readable(asked));
    const name = parsed !== undefined && 'name' in parsed ? parsed.name : undefined;
    if (name !== undefined) assert.match(name, /^[\w.\\-]*$/u, `seed ${seed}`);
  }
  const odd = Buffer.concat([asked.subarray(0, 12), nameBytes('a?b'), Buffer.from('00010001', 'hex')]);
  odd[14] = 0x2e; // a dot inside a label
  odd.writeUInt16BE(0, 10);
  assert.equal(readable(odd).name, 'a\\046b');
});

/** A nameserver on loopback; `reply` returns the datagrams to send back. */
async function nameserver(
  reply: (asked: Buffer) => readonly Buffer[],
): Promise<Nameserver & { count: () => number } & AsyncDisposable> {
  const socket = createSocket('udp4');
  let count = 0;
  socket.on('message', (message: Buffer, from: RemoteInfo) => {
    count += 1;
    for (const datagram of reply(message)) socket.send(datagram, from.port, from.address);
  });
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
  return {
    address: '127.0.0.1',
    port: socket.address().port,
    count: () => count,
    [Symbol.asyncDispose]: () => new Promise((resolve) => socket.close(() => resolve())),
  };
}

test('the forwarding resolver takes only the answer to its own question', async () => {
  await using server = await nameserver((asked) => {
    const right = answer(asked, [a('x.example', '203.0.113.1')]);
    const wrongId = Buffer.from(right);
    wrongId.writeUInt16BE(right.readUInt16BE(0) ^ 1, 0);
    const wrongName = answer(
      Buffer.concat([asked.subarray(0, 12), nameBytes('y.example'), Buffer.from('00010001', 'hex')]),
      [],
    );
    wrongName.writeUInt16BE(asked.readUInt16BE(0), 0);
    return [Buffer.alloc(3), wrongId, wrongName, asked, right];
  });
  const resolver = forwardingResolver(async () => [server]);
  const asked = readable(query('x.example'));
  const found = await resolver.resolve(asked, AbortSignal.timeout(5_000));
  assert.ok(found);
  assert.equal(parseResponse(found, asked)?.answers.length, 1);
});

test('the forwarding resolver goes on to the next nameserver, and ends with the signal', async () => {
  await using working = await nameserver((asked) => [answer(asked, [])]);
  await using silent = await nameserver(() => []);
  const closed = await nameserver(() => []);
  await closed[Symbol.asyncDispose]();
  const asked = readable(query('x.example'));
  const resolver = forwardingResolver(async () => [closed, working]);
  assert.ok(await resolver.resolve(asked, AbortSignal.timeout(5_000)));
  assert.equal(await forwardingResolver(async () => [closed]).resolve(asked, AbortSignal.timeout(5_000)), undefined);
  const abort = new AbortController();
  const waiting = forwardingResolver(async () => [silent]).resolve(asked, abort.signal);
  while (silent.count() === 0) await new Promise(setImmediate);
  abort.abort(new Error('closing'));
  await assert.rejects(waiting, /closing/u);
});

test('a nameserver that refuses or fails is passed over, and its answer is the last resort (B5)', async () => {
  await using refusing = await nameserver((asked) => [answer(asked, [], { flags: 0x8185 })]);
  await using failing = await nameserver((asked) => [answer(asked, [], { flags: 0x8182 })]);
  await using working = await nameserver((asked) => [answer(asked, [a('x.example', '203.0.113.7')])]);
  const asked = readable(query('x.example'));
  const ask = async (servers: readonly Nameserver[]): Promise<number | undefined> => {
    const found = await forwardingResolver(async () => servers, new Map()).resolve(asked, AbortSignal.timeout(20_000));
    return found && parseResponse(found, asked)?.rcode;
  };
  assert.equal(await ask([refusing, failing, working]), 0);
  assert.equal(await ask([refusing, failing]), 5);
});

test('a nameserver that does not answer costs its time once; then it is asked last (B5)', async () => {
  await using silent = await nameserver(() => []);
  await using working = await nameserver((asked) => [answer(asked, [])]);
  const asked = readable(query('x.example'));
  const known = new Map<string, number>();
  const resolver = forwardingResolver(async () => [silent, working], known);
  for (let times = 0; times < 3; times += 1) assert.ok(await resolver.resolve(asked, AbortSignal.timeout(20_000)));
  assert.deepEqual([silent.count(), working.count()], [1, 3]);
  const alone = forwardingResolver(async () => [silent], known);
  assert.equal(await alone.resolve(asked, AbortSignal.timeout(20_000)), undefined, 'nobody else is there to ask');
  assert.equal(silent.count(), 2);
});

test('the forwarding resolver asks over TCP when the answer was cut', async () => {
  const many = Array.from({ length: 60 }, (_, index) => a('x.example', `203.0.113.${index}`));
  await using udp = await nameserver((asked) => [answer(asked, [], { flags: 0x8380 })]);
  const tcp = createServer((socket) => {
    socket.once('data', (chunk) => {
      const message = answer(chunk.subarray(2), many);
      const length = Buffer.alloc(2);
      length.writeUInt16BE(message.length, 0);
      // In two pieces, as a network may split it.
      socket.write(Buffer.concat([length, message.subarray(0, 100)]));
      setImmediate(() => socket.end(message.subarray(100)));
    });
  });
  await new Promise<void>((resolve) => tcp.listen(udp.port, '127.0.0.1', resolve));
  try {
    assert.equal((tcp.address() as AddressInfo).port, udp.port);
    const asked = readable(query('x.example'));
    const found = await forwardingResolver(async () => [udp]).resolve(asked, AbortSignal.timeout(5_000));
    assert.equal(found && parseResponse(found, asked)?.answers.length, 60);
  } finally {
    await new Promise((resolve) => tcp.close(resolve));
  }
});
