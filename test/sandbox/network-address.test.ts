import assert from 'node:assert/strict';
import { test } from 'node:test';
import { contains, formatAddress, parseAddress, parseCidr } from '../../src/sandbox/microvm/network/address.ts';
import { hostNetworks, isPrivate } from '../../src/sandbox/microvm/network/ranges.ts';
import { parseRule } from '../../src/sandbox/microvm/network/rules.ts';

function address(text: string): Uint32Array {
  const parsed = parseAddress(text);
  assert.ok(parsed, text);
  return parsed;
}

test('parseAddress() and formatAddress() are each other’s reverse', () => {
  for (const text of ['0.0.0.0', '10.1.2.3', '255.255.255.255', '::', '::1', '2001:db8::1', 'fd00::1:0:0:1']) {
    assert.equal(formatAddress(address(text)), text);
  }
  assert.equal(formatAddress(address('2001:DB8:0:0:0:0:0:1')), '2001:db8::1');
});

test('parseAddress() refuses other spellings of IPv4, zones and nonsense', () => {
  const bad = [
    '0177.0.0.1',
    '0x7f.0.0.1',
    '2130706433',
    '127.1',
    '127.0.0.01',
    '1.2.3',
    'fe80::1%eth0',
    '',
    'a',
    '1.2.3.4 ',
  ];
  for (const text of bad) assert.equal(parseAddress(text), undefined, text);
});

test('parseCidr() and contains() agree on the edges of a block', () => {
  const cases: readonly (readonly [string, string, boolean])[] = [
    ['10.0.0.0/8', '10.255.255.255', true],
    ['10.0.0.0/8', '11.0.0.0', false],
    ['172.16.0.0/12', '172.31.255.255', true],
    ['172.16.0.0/12', '172.32.0.0', false],
    ['0.0.0.0/0', '203.0.113.1', true],
    ['0.0.0.0/0', '2001:db8::1', false],
    ['::/0', '203.0.113.1', false],
    ['::/0', '2001:db8::1', true],
    ['fd00::/8', 'fdff::1', true],
    ['fd00::/8', 'fe00::1', false],
    ['2001:db8::/33', '2001:db8:7fff::', true],
    ['2001:db8::/33', '2001:db8:8000::', false],
    ['1.2.3.4', '1.2.3.4', true],
    ['1.2.3.4', '1.2.3.5', false],
  ];
  for (const [block, inside, expected] of cases) {
    const cidr = parseCidr(block);
    assert.ok(cidr, block);
    assert.equal(contains(cidr, address(inside)), expected, `${inside} in ${block}`);
  }
  for (const bad of ['10.0.0.0/33', '::/129', '10.0.0.0/', '10.0.0.0/8/8', '10.0.0.0/-1', 'x/8']) {
    assert.equal(parseCidr(bad), undefined, bad);
  }
});

test('every class of address that is not the public internet is private', () => {
  const four =
    '0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 100.100.100.200 127.0.0.1 127.255.255.255 168.63.129.16 169.254.169.254 ' +
    '172.16.0.1 172.31.255.255 192.0.0.192 192.88.99.1 192.168.1.1 198.18.0.1 198.19.255.255 224.0.0.251 239.1.1.1 ' +
    '240.0.0.1 255.255.255.255';
  const six = ':: ::1 fe80::1 fec0::1 fc00::1 fd00:ec2::254 ff02::1 ::7f00:1 100::1 64:ff9b:1::1';
  // Mapped, 6to4, NAT64, Teredo.
  const carriers = '::ffff:10.0.0.1 2002:a00:1::1 2002:7f00:1:: 64:ff9b::a9fe:a9fe 64:ff9b::192.168.0.1 2001::1';
  const known = `${four} ${six} ${carriers}`.split(' ');
  for (const text of known) assert.equal(isPrivate(address(text)), true, text);
});

test('public addresses and documentation ranges are not private', () => {
  const four =
    '1.1.1.1 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 172.15.0.1 172.32.0.1 192.0.1.1 192.0.2.1 ' +
    '198.51.100.1 203.0.113.80 198.17.0.1 198.20.0.0 223.255.255.255';
  const six = '2606:4700::1111 2001:db8::1 2a00:1450::1 2002:101:101::1 64:ff9b::101:101 ::ffff:1.1.1.1';
  const known = `${four} ${six}`.split(' ');
  for (const text of known) assert.equal(isPrivate(address(text)), false, text);
});

test('hostNetworks() has the addresses of this host', () => {
  const networks = hostNetworks();
  assert.ok(networks.some((network) => contains(network, address('127.0.0.1'))));
  assert.ok(!networks.some((network) => contains(network, address('203.0.113.254')) && network.bits < 104));
});

test('parseRule() reads names, addresses, blocks and ports', () => {
  assert.deepEqual(parseRule('Example.ORG.'), { kind: 'name', name: 'example.org', subdomains: false });
  assert.deepEqual(parseRule('*.example.org:443'), { kind: 'name', name: 'example.org', subdomains: true, port: 443 });
  assert.deepEqual(parseRule('bücher.example'), { kind: 'name', name: 'xn--bcher-kva.example', subdomains: false });
  assert.deepEqual(parseRule('localhost'), { kind: 'name', name: 'localhost', subdomains: false });
  const one = { kind: 'block', block: parseCidr('10.0.0.5'), port: 5432 };
  assert.deepEqual(parseRule('10.0.0.5:5432'), one);
  assert.deepEqual(parseRule('10.0.0.0/8'), { kind: 'block', block: parseCidr('10.0.0.0/8') });
  assert.deepEqual(parseRule('[fd00::/8]:22'), { kind: 'block', block: parseCidr('fd00::/8'), port: 22 });
  assert.deepEqual(parseRule('fd00::1'), { kind: 'block', block: parseCidr('fd00::1') });
});

test('parseRule() refuses addresses in disguise and what is no rule', () => {
  const bad = [
    '',
    '*',
    '*.',
    'a..b',
    '-.a',
    '0x7f.1',
    '017700000001',
    '0x7f000001',
    '127.1',
    '10.0.0.0/40',
    'a:0',
    'a:70000',
  ];
  bad.push('a b', 'http://a', 'a/8', '[a]:1', '*.*.org', 'a.*.org', `${'x'.repeat(64)}.org`, 'a:', ':80', 'a\n');
  for (const text of bad) {
    assert.throws(() => parseRule(text), { code: 'ARGUMENT_INVALID' }, JSON.stringify(text));
  }
});
