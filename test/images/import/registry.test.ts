import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { startRegistry } from '../../../scripts/support/registry.ts';
import { imageImporter } from '../../../src/images/import/importer.ts';
import { PLATFORM } from '../../registry/support.ts';
import { FakeRegistry, OCI } from '../../support/servers/registry.ts';
import { openStore, tarLayer } from './support.ts';

const signal = AbortSignal.timeout(120_000);
const LAYERS = [
  tarLayer([
    { path: 'etc/', flag: '5', mode: 0o755 },
    { path: 'etc/motd', content: 'below' },
  ]),
  tarLayer([{ path: 'etc/motd', content: 'above' }]),
];

async function copy(...args: string[]): Promise<void> {
  await promisify(execFile)(
    'skopeo',
    ['--insecure-policy', 'copy', '--quiet', '--src-tls-verify=false', '--dest-tls-verify=false', ...args],
    { signal },
  );
}

test('what skopeo pushes to a real registry is imported, in every form that skopeo knows', async () => {
  await using source = await FakeRegistry.start();
  await using registry = await startRegistry();
  await using bench = await openStore();
  const config = { config: { Env: ['A=b'] } };
  const amd64 = { ...source.addImage(LAYERS, { tag: '1', config }), platform: { os: 'linux', architecture: 'amd64' } };
  const other = tarLayer([{ path: 'arm', content: 'arm' }]);
  const arm64 = {
    ...source.addImage([other], { config: { architecture: 'arm64' } }),
    platform: { os: 'linux', architecture: 'arm64', variant: 'v8' },
  };
  source.addManifest({ schemaVersion: 2, mediaType: OCI.index, manifests: [arm64, amd64] }, OCI.index, 'multi');

  const from = `docker://${source.host}/app`;
  const to = `docker://${registry.host}/app`;
  await copy(`${from}:1`, `${to}:oci`);
  await copy('--format', 'v2s2', `${from}:1`, `${to}:docker`);
  await copy('--dest-compress-format', 'zstd', '--dest-compress', `${from}:1`, `${to}:zstd`);
  await copy('--all', `${from}:multi`, `${to}:multi`);

  const importer = imageImporter({ registries: {}, credentials: {}, platform: PLATFORM });
  const results = [];
  for (const tag of ['oci', 'docker', 'zstd', 'multi']) {
    const context = { store: bench.store, progress: () => undefined, privateByName: true };
    results.push(await importer.fromRegistry({ url: `${to}:${tag}` }, context, signal));
  }
  for (const { layers, config } of results) {
    assert.deepEqual(layers, results[0]?.layers, 'every form is the same layers');
    assert.deepEqual(config.env, { A: 'b' });
  }
  assert.deepEqual(await bench.contents(results[0]?.layers ?? []), { etc: 'directory', 'etc/motd': 'above' });
});
