import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { textAddressKind } from '../../../src/std/ip/kind.ts';

test('textAddressKind() knows every way to write an address of this machine or its network', () => {
  const cases: Readonly<Record<string, readonly string[]>> = {
    public: [
      '8.8.8.8',
      '192.0.2.1',
      '198.51.100.7',
      '203.0.113.9',
      '172.32.0.1',
      '9.255.255.255',
      '11.0.0.0',
      '100.63.255.255',
      '100.128.0.0',
      '172.15.0.1',
      '192.0.1.1',
      '198.17.0.1',
      '198.20.0.0',
      '223.255.255.255',
      '2606:4700::1111',
      '2001:200::1',
      '161.27.0.1',
      '166.7.255.255',
      '166.12.0.0',
      '2001:db8::1',
      '2002:101:101::1',
      '64:ff9b::808:808',
      '::ffff:1.1.1.1',
    ],
    loopback: [
      '127.0.0.1',
      '127.255.255.254',
      '::1',
      '::ffff:127.0.0.1',
      '::ffff:7f00:1',
      '::127.0.0.1',
      '2002:7f00:1::',
    ],
    private: [
      '10.0.0.1',
      '172.16.0.1',
      '172.31.255.255',
      '192.168.1.1',
      '100.64.0.1',
      '161.26.0.10',
      '166.8.0.1',
      '166.11.255.255',
      'fc00::1',
      'fdff::1',
      '64:ff9b::a00:1',
      '64:ff9b:1::1',
      'fec0::1',
      '2002:a00:1::1',
    ],
    'link-local': ['169.254.1.1', 'fe80::1', 'fe80::1%eth0', 'febf::1', '::ffff:169.254.1.1'],
    metadata: [
      '169.254.169.254',
      '168.63.129.16',
      '192.0.0.192',
      'fd00:ec2::254',
      '100.100.100.200',
      '::ffff:169.254.169.254',
      '64:ff9b::a9fe:a9fe',
    ],
    reserved: [
      '0.0.0.0',
      '0.1.2.3',
      '::',
      '224.0.0.1',
      '255.255.255.255',
      'ff02::1',
      '198.18.0.1',
      '198.19.255.255',
      '192.0.0.1',
      '192.88.99.1',
      '239.1.1.1',
      '240.0.0.1',
      '100::1',
      '2001::1',
      '2001:1::1',
      '2001:10::1',
      '2001:20::1',
      '2001:1ff:ffff::1',
      // These forms of public addresses are not routed.
      '::8.8.8.8',
      '::ffff:0:808:808',
      '::ffff:0.0.0.0',
      'x',
      '',
    ],
  };
  for (const [kind, addresses] of Object.entries(cases)) {
    for (const address of addresses) assert.equal(textAddressKind(address), kind, address);
  }
});

test('textAddressKind() never calls an embedded private address public', () => {
  const octet = fc.integer({ min: 0, max: 255 });
  fc.assert(
    fc.property(octet, octet, octet, (b, c, d) => {
      const hex = [10, b, c, d].map((value) => value.toString(16).padStart(2, '0'));
      for (const prefix of ['::ffff:', '::', '64:ff9b::']) {
        assert.equal(textAddressKind(`${prefix}${hex[0]}${hex[1]}:${hex[2]}${hex[3]}`), 'private');
      }
      assert.equal(textAddressKind(`2002:${hex[0]}${hex[1]}:${hex[2]}${hex[3]}::1`), 'private');
    }),
    { seed: 7, numRuns: 200 },
  );
});
