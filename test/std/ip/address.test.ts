import assert from 'node:assert/strict';
import { test } from 'node:test';
import { contains, formatAddress, parseAddress, parseCidr } from '../../../src/std/ip/address.ts';

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
