import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { AddressGuard, addressKind, guardedLookup } from '../../src/registry/address.ts';
import { proxyFor } from '../../src/registry/proxy.ts';

test('addressKind knows every way to write an address of this machine or its network', () => {
  const cases: Readonly<Record<string, readonly string[]>> = {
    public: [
      '8.8.8.8',
      '192.0.2.1',
      '198.51.100.7',
      '203.0.113.9',
      '172.32.0.1',
      '2606:4700::1111',
      '64:ff9b::808:808',
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
      'fc00::1',
      'fdff::1',
      '64:ff9b::a00:1',
    ],
    'link-local': ['169.254.1.1', 'fe80::1', 'fe80::1%eth0', 'febf::1', '::ffff:169.254.1.1'],
    metadata: ['169.254.169.254', 'fd00:ec2::254', '100.100.100.200', '::ffff:169.254.169.254', '64:ff9b::a9fe:a9fe'],
    reserved: [
      '0.0.0.0',
      '0.1.2.3',
      '::',
      '224.0.0.1',
      '255.255.255.255',
      'ff02::1',
      '198.18.0.1',
      '::ffff:0.0.0.0',
      'x',
      '',
    ],
  };
  for (const [kind, addresses] of Object.entries(cases)) {
    for (const address of addresses) assert.equal(addressKind(address), kind, address);
  }
});

test('addressKind never calls an embedded private address public', () => {
  const octet = fc.integer({ min: 0, max: 255 });
  fc.assert(
    fc.property(octet, octet, octet, (b, c, d) => {
      const hex = [10, b, c, d].map((value) => value.toString(16).padStart(2, '0'));
      for (const prefix of ['::ffff:', '::', '64:ff9b::']) {
        assert.equal(addressKind(`${prefix}${hex[0]}${hex[1]}:${hex[2]}${hex[3]}`), 'private');
      }
      assert.equal(addressKind(`2002:${hex[0]}${hex[1]}:${hex[2]}${hex[3]}::1`), 'private');
    }),
    { seed: 7, numRuns: 200 },
  );
});

function guard(named: string, more: { allowed?: readonly string[]; privateByName?: boolean } = {}): AddressGuard {
  return new AddressGuard({ named, allowed: [], privateByName: true, ...more });
}

function denies(subject: AddressGuard, url: string): boolean {
  try {
    subject.check(new URL(url));
    return false;
  } catch (error) {
    assert.equal((error as { code?: string }).code, 'REGISTRY_ADDRESS_DENIED');
    return true;
  }
}

test('AddressGuard refuses literal addresses that a public registry points to', () => {
  const subject = guard('ghcr.io');
  for (const host of [
    '127.0.0.1',
    '127.1',
    '2130706433',
    '0x7f000001',
    '0177.0.0.1',
    '0.0.0.0',
    '0',
    '10.1.2.3',
    '169.254.169.254',
    '[::1]',
    '[::]',
    '[::ffff:127.0.0.1]',
    '[fd00:ec2::254]',
  ]) {
    assert.ok(denies(subject, `http://${host}:5000/`), host);
  }
  assert.ok(!denies(subject, 'https://140.82.121.33/'));
});

test('AddressGuard lets the user name a loopback or private registry, and that host only', () => {
  const subject = guard('127.0.0.1:5000');
  assert.ok(!denies(subject, 'http://127.0.0.1:5000/'));
  assert.ok(!denies(subject, 'http://127.0.0.1:5001/'), 'its token service may have another port');
  assert.ok(denies(subject, 'http://127.0.0.2:5000/'));
  assert.ok(denies(subject, 'http://10.0.0.1/'));
  assert.ok(!denies(guard('192.168.1.5:5000'), 'https://192.168.1.5:5000/'));
  assert.ok(denies(guard('127.0.0.1:5000', { privateByName: false }), 'http://127.0.0.1:5000/'));
});

test('AddressGuard never takes link-local, metadata or unspecified addresses by name', () => {
  for (const host of ['169.254.169.254', '169.254.1.1', '0.0.0.0:5000', '[fe80::1]', '[::]:5000', '100.100.100.200']) {
    assert.ok(denies(guard(host), `http://${host}/`), host);
  }
  const listed = guard('169.254.1.1', { allowed: ['169.254.1.1'] });
  assert.ok(!denies(listed, 'http://169.254.1.1/'), 'the settings can permit anything');
});

test('AddressGuard permits listed hosts, with or without port', () => {
  const subject = guard('ghcr.io', { allowed: ['Cache.lan', '10.0.0.9:5000'] });
  assert.ok(subject.permits(new URL('https://cache.lan/')));
  assert.ok(!subject.permits(new URL('https://other.lan/')));
  assert.ok(!denies(subject, 'http://10.0.0.9:5000/'));
  assert.ok(denies(subject, 'http://10.0.0.9:5001/'));
});

function look(hostname: string, all: boolean): Promise<unknown> {
  return new Promise((resolve, reject) => {
    guardedLookup(hostname, { all, hints: 0 }, (error, address) => (error === null ? resolve(address) : reject(error)));
  });
}

test('guardedLookup refuses a name that resolves to this machine', async () => {
  await assert.rejects(look('localhost', true), { code: 'REGISTRY_ADDRESS_DENIED' });
  await assert.rejects(look('localhost', false), { code: 'REGISTRY_ADDRESS_DENIED' });
  assert.equal(await look('192.0.2.10', false), '192.0.2.10');
});

test('proxyFor honours exceptions and never proxies loopback', () => {
  const settings = {
    http: 'http://p:1',
    https: 'http://p:2',
    no: 'internal.lan, .corp.example, 10.0.0.0/8, h.io:8443,',
  };
  const through = (url: string) => proxyFor(new URL(url), settings);
  assert.equal(through('https://ghcr.io/'), 'http://p:2');
  assert.equal(through('http://ghcr.io/'), 'http://p:1');
  assert.equal(through('https://internal.lan/'), undefined);
  assert.equal(through('https://a.internal.lan/'), undefined);
  assert.equal(through('https://notinternal.lan/'), 'http://p:2');
  assert.equal(through('https://reg.corp.example/'), undefined);
  assert.equal(through('https://10.9.8.7/'), undefined);
  assert.equal(through('https://h.io:8443/'), undefined);
  assert.equal(through('https://h.io/'), 'http://p:2');
  assert.equal(through('http://127.0.0.1:5000/'), undefined);
  assert.equal(through('http://localhost:5000/'), undefined);
  assert.equal(proxyFor(new URL('https://ghcr.io/'), { ...settings, no: '*' }), undefined);
  assert.equal(proxyFor(new URL('https://ghcr.io/'), {}), undefined);
});
