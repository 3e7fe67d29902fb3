import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { EMPTY_IMAGE_CONFIG } from '../../src/contract/image.ts';
import { isSecretVariable, maskUrl } from '../../src/engine/run/secrets.ts';
import { addLayer } from '../store/bench.ts';
import { finished, openEngine, run, script } from './bench.ts';

/** Files below a directory that contain the text. */
async function holding(directory: string, text: string): Promise<string[]> {
  const names = await readdir(directory, { recursive: true, withFileTypes: true });
  const found: string[] = [];
  for (const entry of names) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile() && (await readFile(path)).includes(text)) found.push(path);
  }
  return found;
}

test('what is passed as a secret never reaches the disk', async () => {
  await using bench = await openEngine({
    importer: {
      fromRegistry: async (_, { store }) => ({ layers: [(await addLayer(store)).digest], config: EMPTY_IMAGE_CONFIG }),
      fromArchive: () => Promise.reject(new Error('unused')),
    },
  });
  const { engine, directory } = bench;
  const operation = await run(
    engine,
    script(bench, 'cat > /dev/null; echo x > /x', {
      env: { GITHUB_TOKEN: 'canary-env', PLAIN: 'plain-value' },
      stdin: { value: 'canary-stdin' },
    }),
  );
  assert.equal(operation.status, 'SUCCESS');
  const registry = {
    url: 'docker://u:canary-url@registry.example/x',
    credentials: { username: 'u', password: 'canary-password' },
  };
  await finished(engine, (await engine.images.import({ registry })).uuid);
  assert.deepEqual(await holding(directory, 'canary'), []);
  assert.notDeepEqual(await holding(directory, 'plain-value'), [], 'the search finds what is there');
  assert.ok('env' in operation.metadata);
  assert.deepEqual(operation.metadata.env, { GITHUB_TOKEN: '<MASKED>', PLAIN: 'plain-value' });
});

test('names tell secrets', () => {
  for (const name of [
    'TOKEN',
    'github_token',
    'DB_PASSWORD',
    'AWS_SECRET',
    'API_KEY',
    'apikey',
    'GCP_CREDENTIALS',
    'Authorization',
  ]) {
    assert.ok(isSecretVariable(name), name);
  }
  for (const name of ['PATH', 'TOKENIZERS_PARALLELISM', 'KEY1', 'SECRETARY_NAME', 'HOME'])
    assert.ok(!isSecretVariable(name), name);
});

test('maskUrl() takes user and password out and leaves the rest', () => {
  assert.equal(maskUrl('docker://user:pw@host:5000/a/b:tag'), 'docker://host:5000/a/b:tag');
  assert.equal(maskUrl('docker://host/a@sha256:abc'), 'docker://host/a@sha256:abc');
  assert.equal(maskUrl('python:3.11-slim'), 'python:3.11-slim');
  assert.equal(maskUrl('busybox@sha256:abc'), 'busybox@sha256:abc');
  assert.equal(maskUrl('python:3@sha256:abc'), 'python:3@sha256:abc');
  assert.equal(maskUrl('docker://python@sha512:abc'), 'docker://python@sha512:abc');
  assert.equal(maskUrl('user:pw@host/a@sha256:abc'), 'host/a@sha256:abc');
  assert.equal(maskUrl('user:p@w@host/a'), 'host/a', 'a password with an @ in it');
  assert.equal(maskUrl('user:pw@sha256:5000/a'), 'sha256:5000/a', 'a host whose name looks like a digest');
});
