import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { contains } from '../../../src/std/ip/address.ts';
import { hostNetworks, privateNetworks } from '../../../src/sandbox/network/host-networks.ts';
import { readKernelTable } from '../../../src/sandbox/network/kernel-table.ts';
import { addressOf } from '../../../src/sandbox/network/link.ts';

const SUPPORT = join(import.meta.dirname, '../../support');

/** Returns which of the addresses a guest reaches on a host in the namespace of `namespace.sh`. */
async function reachableInNamespace(addresses: readonly string[]): Promise<string[]> {
  const inside = [
    'sh',
    join(SUPPORT, 'network/namespace.sh'),
    process.execPath,
    join(SUPPORT, 'processes/reachable.ts'),
    ...addresses,
  ];
  const { stdout } = await promisify(execFile)('unshare', ['--map-root-user', '--net', ...inside]);
  return JSON.parse(stdout) as string[];
}

test('what the kernel does not send by the default route is private, and every address that it takes for its own (F10)', async () => {
  const shut = [
    '198.51.100.2', // its own
    '198.51.100.77', // its neighbour
    '203.0.113.5', // its own, on an interface without carrier
    '192.0.2.200', // its own, on no interface
    '25.1.2.3', // behind a VPN
    '45.0.1.1', // behind a VPN with a table of its own
    '2001:db8:1::2',
    '2001:db8:5::5',
    '2001:db8:6::99',
    '2a00:1::1',
  ];
  const open = ['1.1.1.1', '192.0.2.201', '9.9.9.9', '203.0.112.1', '2606:4700::1', '2620:fe::9'];
  assert.deepEqual(await reachableInNamespace([...shut, ...open]), open);
});

test('hostNetworks() has what this host is in, and is worked out once for the same tables', () => {
  assert.equal(hostNetworks(), hostNetworks());
  for (const { bits, address } of hostNetworks()) {
    const isAll = bits === 0 || (address[2] === 0xffff && bits === 96);
    assert.ok(!isAll);
  }
});

test('tables beyond the bounds let nothing out, those of nonsense change nothing', () => {
  const empty = { route: '', fibTrie: '', ipv6Route: '', ifInet6: '' };
  const outside = ['1.1.1.1', '2606:4700::1'].map(addressOf);
  const isOut = (networks: ReturnType<typeof privateNetworks>): boolean[] =>
    outside.map((address) => !networks.some((network) => contains(network, address)));
  assert.deepEqual(isOut(privateNetworks(empty)), [true, true]);
  for (const name of Object.keys(empty)) {
    assert.deepEqual(isOut(privateNetworks({ ...empty, [name]: undefined })), [false, false], name);
    const nonsense = [
      'x y z\n',
      '  |-- 1.1.1\n   /99 host LOCAL\n',
      '\n'.repeat(1_000),
      'Main:\n   /8 x',
      '0'.repeat(32),
    ];
    for (const text of nonsense)
      assert.deepEqual(isOut(privateNetworks({ ...empty, [name]: text })), [true, true], text);
  }
  const leaf = (index: number): string => `     |-- 45.${index >> 8}.${index & 255}.0\n        /24 universe UNICAST\n`;
  const many = (count: number): string => `Main:\n${Array.from({ length: count }, (_, index) => leaf(index)).join('')}`;
  assert.deepEqual(isOut(privateNetworks({ ...empty, fibTrie: many(1_000) })), [true, true]);
  assert.deepEqual(isOut(privateNetworks({ ...empty, fibTrie: many(1_001) })), [false, false]);
});

test('readKernelTable() reads no more than it may', () => {
  assert.match(readKernelTable('/proc/net/route') ?? '', /^Iface/u);
  assert.equal(readKernelTable('/proc/net/no-such-table'), '');
  assert.equal(readKernelTable('/dev/zero', 1_000_000), undefined);
});
