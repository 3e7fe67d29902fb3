import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytesOf, toByteString } from '../../src/std/bytes.ts';
import { pathFromText, textFromPath } from '../../src/std/path-text.ts';

const latin1 = (text: string): string => text;

test('textFromPath shows UTF-8 names as they are, systemd escapes included', () => {
  for (const name of [
    '/etc/passwd',
    'zażółć',
    '日本/語',
    String.raw`system-systemd\x2dcryptsetup.slice`,
    'a\\b',
    'tab\t',
  ]) {
    assert.equal(textFromPath(toByteString(name)), name);
    assert.equal(pathFromText(name), toByteString(name));
  }
});

test('textFromPath escapes each byte that is not UTF-8', () => {
  assert.equal(textFromPath(latin1('caf\xe9.txt')), String.raw`caf\xe9.txt`);
  assert.equal(textFromPath(latin1('\xff\xfe/\xc3\xa9\xc3')), String.raw`\xff\xfe/é\xc3`);
  assert.equal(textFromPath(latin1('\xed\xa0\x80')), String.raw`\xed\xa0\x80`, 'a surrogate is not UTF-8');
  assert.equal(textFromPath(latin1('\xc0\xaf')), String.raw`\xc0\xaf`, 'nor is an overlong slash');
});

test('a name that reads like an escape stays apart from the name it would mean', () => {
  const literal = String.raw`caf\xe9.txt`;
  assert.equal(textFromPath(literal), String.raw`caf\x5cxe9.txt`);
  assert.equal(pathFromText(String.raw`caf\x5cxe9.txt`), literal);
  assert.equal(pathFromText(literal), 'caf\xe9.txt');
});

test('pathFromText reverses textFromPath for any bytes, and no two names share a text', () => {
  let seed = 0x2f6e2b1;
  const random = (): number => (seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0) >>> 8;
  const alphabet = [
    '\\',
    'x',
    '5',
    'c',
    '8',
    'e',
    '9',
    'a',
    '\xe9',
    '\xc3',
    '\xa9',
    '\xff',
    '\xf0',
    '\x9f',
    '\x98',
    '\x80',
  ];
  const seen = new Map<string, string>();
  for (let round = 0; round < 20_000; round++) {
    const name = Array.from({ length: 1 + (random() % 9) }, () => alphabet[random() % alphabet.length]).join('');
    const text = textFromPath(name);
    assert.equal(pathFromText(text), name, JSON.stringify(name));
    assert.equal(seen.get(text) ?? name, name);
    seen.set(text, name);
    assert.ok(Buffer.from(text, 'utf8').toString('utf8') === text, 'the text is well-formed');
  }
  assert.equal(bytesOf(pathFromText(String.raw`\xff`))[0], 255);
});
