import assert from 'node:assert/strict';
import { test } from 'node:test';
import { registryHostOf, tokenPageOf } from '../../src/tools/support/registry-hosts.ts';

test('registryHostOf reads hosts, references and short names as docker does', () => {
  const cases: Readonly<Record<string, string>> = {
    'ghcr.io': 'ghcr.io',
    'docker://ghcr.io/owner/app:1': 'ghcr.io',
    'https://registry.gitlab.com': 'registry.gitlab.com',
    'localhost:5000': 'localhost:5000',
    'localhost:5000/app': 'localhost:5000',
    '127.0.0.1:5000': '127.0.0.1:5000',
    'myhost:5000/app': 'myhost:5000',
    python: 'docker.io',
    'python:3.11-slim': 'docker.io',
    'docker://alpine': 'docker.io',
    'owner/app': 'docker.io',
    'index.docker.io': 'docker.io',
    'registry-1.docker.io/library/x': 'docker.io',
    'GHCR.IO/Owner/App': 'ghcr.io',
  };
  for (const [text, host] of Object.entries(cases)) assert.equal(registryHostOf(text), host, text);
});

test('registryHostOf refuses anything but a registry', () => {
  for (const text of [
    '',
    '   ',
    'docker://',
    'a..b/x',
    '-x.io/y',
    'ex ample.org/x',
    'x.io:99999999/y',
    '../../etc',
    'not a host',
    'nothing!',
  ]) {
    assert.throws(() => registryHostOf(text), { code: 'REFERENCE_INVALID' }, text);
  }
});

test('tokenPageOf knows the registries of the announcement', () => {
  for (const host of ['docker.io', 'ghcr.io', 'registry.gitlab.com', 'eu.gcr.io']) {
    assert.match(tokenPageOf(host)?.url ?? '', /^https:\/\//u, host);
  }
  assert.equal(tokenPageOf('registry.example.org'), undefined);
});
