import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { parseChallenges } from '../../src/registry/auth/challenge.ts';
import { startCpuWatch } from '../support/time/stopwatch.ts';

function parsed(header: string): [string, Record<string, string>][] {
  return parseChallenges(header).map(({ scheme, parameters }) => [scheme, Object.fromEntries(parameters)]);
}

test('parseChallenges reads what registries send', () => {
  assert.deepEqual(
    parsed('Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push"'),
    [
      [
        'bearer',
        { realm: 'https://auth.docker.io/token', service: 'registry.docker.io', scope: 'repository:a/b:pull,push' },
      ],
    ],
  );
  assert.deepEqual(parsed('Basic realm="Registry Realm"'), [['basic', { realm: 'Registry Realm' }]]);
  assert.deepEqual(parsed('Bearer realm=https'), [['bearer', { realm: 'https' }]]);
  assert.deepEqual(parsed('BEARER Realm = "a\\"b" , x=1'), [['bearer', { realm: 'a"b', x: '1' }]]);
  assert.deepEqual(parsed('Negotiate, Basic realm="x", Bearer realm="y"'), [
    ['negotiate', {}],
    ['basic', { realm: 'x' }],
    ['bearer', { realm: 'y' }],
  ]);
});

test('parseChallenges stops at nonsense and keeps the first of two equal parameters', () => {
  assert.deepEqual(parsed(''), []);
  assert.deepEqual(parsed('realm="x"'), []);
  assert.deepEqual(parsed('Bearer realm="unterminated'), [['bearer', {}]]);
  assert.deepEqual(parsed('Bearer realm="a", realm="b"'), [['bearer', { realm: 'a' }]]);
  fc.assert(
    fc.property(fc.string({ maxLength: 60 }), (text) => void parseChallenges(`Bearer ${text}`)),
    { seed: 3, numRuns: 2_000 },
  );
});

test('parseChallenges is quick on a header made to be slow', () => {
  const cpuMs = startCpuWatch();
  parseChallenges(`Bearer a="${'\\'.repeat(50_000)}`);
  parseChallenges(`Bearer ${'a=b,'.repeat(50_000)}`);
  assert.ok(cpuMs() < 500);
});
