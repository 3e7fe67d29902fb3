import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { isFault } from '../../src/contract/errors.ts';
import { apiHost, formatReference, parseReference, parseRegistry } from '../../src/registry/reference.ts';
import { startCpuWatch } from '../support/time/stopwatch.ts';

const HEX = 'a'.repeat(64);

test('parseReference reads references as Docker does', () => {
  const cases: readonly (readonly [string, string])[] = [
    ['docker://python:3.11-slim', 'docker://docker.io/library/python:3.11-slim'],
    ['python:3.11-slim', 'docker://docker.io/library/python:3.11-slim'],
    ['docker://alpine', 'docker://docker.io/library/alpine:latest'],
    ['oci://alpine', 'docker://docker.io/library/alpine:latest'],
    ['DOCKER://alpine', 'docker://docker.io/library/alpine:latest'],
    ['docker.io/python', 'docker://docker.io/library/python:latest'],
    ['docker.io/library/python', 'docker://docker.io/library/python:latest'],
    ['index.docker.io/bitnami/redis:7', 'docker://docker.io/bitnami/redis:7'],
    ['registry-1.docker.io/library/busybox', 'docker://docker.io/library/busybox:latest'],
    ['bitnami/redis', 'docker://docker.io/bitnami/redis:latest'],
    ['ghcr.io/owner/image:v1', 'docker://ghcr.io/owner/image:v1'],
    ['docker://GHCR.io/owner/image', 'docker://ghcr.io/owner/image:latest'],
    ['registry.gitlab.com/group/sub/project/image:tag', 'docker://registry.gitlab.com/group/sub/project/image:tag'],
    ['localhost/x', 'docker://localhost/x:latest'],
    ['localhost:5000/x', 'docker://localhost:5000/x:latest'],
    ['127.0.0.1:5000/team/x:1', 'docker://127.0.0.1:5000/team/x:1'],
    ['[::1]:5000/x', 'docker://[::1]:5000/x:latest'],
    ['host:5000/x__y/z--a', 'docker://host:5000/x__y/z--a:latest'],
    [`python@sha256:${HEX}`, `docker://docker.io/library/python@sha256:${HEX}`],
    [`ghcr.io/a/b:1@sha256:${HEX}`, `docker://ghcr.io/a/b:1@sha256:${HEX}`],
    ['123456789.dkr.ecr.eu-west-1.amazonaws.com/app', 'docker://123456789.dkr.ecr.eu-west-1.amazonaws.com/app:latest'],
  ];
  for (const [text, normalised] of cases) {
    const reference = parseReference(text);
    assert.equal(formatReference(reference), normalised, text);
    assert.deepEqual(parseReference(normalised), reference, 'the full form parses to the same');
  }
});

test('a short name goes to the host where the API of Docker Hub lives', () => {
  assert.equal(apiHost(parseReference('docker://python:3.11-slim').registry), 'registry-1.docker.io');
  assert.equal(apiHost('ghcr.io'), 'ghcr.io');
});

test('parseReference refuses what is none, and says how it was read', () => {
  const cases: readonly (readonly [string, RegExp])[] = [
    ['', /names no repository/u],
    ['docker://', /names no repository/u],
    ['ghcr.io/', /names no repository/u],
    ['https://ghcr.io/a/b', /write docker:\/\/ghcr\.io\/a\/b/u],
    ['Python:3', /lower case; it was read as docker\.io\/library\/Python/u],
    ['ghcr.io/Owner/x', /lower case; it was read as ghcr\.io\/Owner\/x/u],
    ['python:', /not a tag/u],
    ['python:-x', /not a tag/u],
    ['python:a b', /not a tag/u],
    [`python:${'x'.repeat(129)}`, /not a tag/u],
    ['a//b', /not part of a repository name/u],
    ['a/../b', /not part of a repository name/u],
    ['a/%2e%2e/b', /not part of a repository name/u],
    ['python?x=1', /not part of a repository name/u],
    ['python#x', /not part of a repository name/u],
    ['a\u0000b', /not part of a repository name/u],
    ['x___y', /not part of a repository name/u],
    [HEX, /an id, not a name/u],
    [`ghcr.io/${'a'.repeat(256)}`, /255 characters/u],
    ['host:0/x', /not a port/u],
    ['host:65536/x', /not a port/u],
    ['host:port/x', /not a registry host/u],
    ['-bad.io/x', /not a registry host/u],
    ['[::zz]:1/x', /not a registry host/u],
    [`python@sha512:${HEX}${HEX}`, /only sha256/u],
    ['python@sha256:abc', /64 lower-case hexadecimal/u],
    ['python@sha256:../../etc/passwd', /64 lower-case hexadecimal/u],
    [`python@sha256:${HEX.toUpperCase()}`, /64 lower-case hexadecimal/u],
    ['docker:///x', /not part of a repository name|names no repository|not a registry host/u],
  ];
  for (const [text, reason] of cases) {
    assert.throws(
      () => parseReference(text),
      (error) => isFault(error, 'REFERENCE_INVALID') && reason.test(error.message),
      text,
    );
  }
});

test('credentials in a reference are refused and not repeated', () => {
  for (const text of ['docker://me:hunter2@ghcr.io/a/b', 'me:hunter2@ghcr.io/a', 'me:hunt@er2@h/x', 'hunter2@x@y']) {
    assert.throws(
      () => parseReference(text),
      (error) => isFault(error, 'REFERENCE_INVALID') && !/hunt/u.test(JSON.stringify(error)),
      text,
    );
  }
});

test('parseReference throws nothing but its fault, and accepts only what it reproduces', () => {
  const part = fc.constantFrom(
    'a',
    'Z',
    '/',
    ':',
    '@',
    '.',
    '-',
    '_',
    '[',
    ']',
    '0',
    'sha256:',
    'docker://',
    ' ',
    '\u0000',
    '%',
  );
  const text = fc.array(part, { maxLength: 24 }).map((parts) => parts.join(''));
  fc.assert(
    fc.property(text, (candidate) => {
      try {
        const reference = parseReference(candidate);
        assert.deepEqual(parseReference(formatReference(reference)), reference);
        assert.match(reference.repository, /^[a-z0-9._/-]+$/u);
      } catch (error) {
        assert.ok(isFault(error, 'REFERENCE_INVALID'), String(error));
      }
    }),
    { seed: 1, numRuns: 5_000 },
  );
});

test('parseReference is linear on names made to be slow', () => {
  const cpuMs = startCpuWatch();
  for (const unit of ['a-', 'a.', 'a_', 'a', '-']) {
    assert.throws(() => parseReference(`host.io/${unit.repeat(100_000)}!`));
    assert.throws(() => parseReference(`${unit.repeat(100_000)}!.io/x`));
  }
  assert.ok(cpuMs() < 1_000);
});

test('parseRegistry gives every spelling of a registry one key', () => {
  for (const text of ['docker.io', 'https://index.docker.io/v1/', 'registry-1.docker.io', 'Docker.IO']) {
    assert.equal(parseRegistry(text), 'docker.io', text);
  }
  assert.equal(parseRegistry('https://ghcr.io/'), 'ghcr.io');
  assert.equal(parseRegistry('localhost:5000'), 'localhost:5000');
  assert.throws(() => parseRegistry('ghcr.io/owner'), { code: 'REFERENCE_INVALID' });
});
