import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AddressGuard, guardedLookup } from '../../src/registry/address.ts';
import { proxyFor } from '../../src/registry/proxy.ts';

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
