import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseCidr } from '../../../src/std/ip/address.ts';
import { parseRule } from '../../../src/sandbox/network-rule.ts';

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
