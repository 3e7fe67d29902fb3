import assert from 'node:assert/strict';
import { test } from 'node:test';
import { limits } from '../../src/contract/limits.ts';
import { DOCKER, FakeRegistry, type Handler, OCI, sha256, status } from '../support/servers/registry.ts';
import { layerOf, openReference } from './support.ts';

const BASE = layerOf('base '.repeat(100));
const TOP = layerOf('top', 'zstd');

test('a registry that states another digest than that of what it sends is not believed', async () => {
  await using registry = await FakeRegistry.start();
  registry.on(/manifests/u, status(200, { 'content-type': OCI.manifest, 'docker-content-digest': sha256('x') }, '{}'));
  await assert.rejects(openReference(`${registry.host}/app`), { code: 'DIGEST_MISMATCH' });
});

test('a manifest must be one thing for everybody who reads it', async () => {
  await using registry = await FakeRegistry.start();
  const image = registry.addImage([BASE]);
  const both = { manifests: [{ ...image, platform: { os: 'linux', architecture: 'amd64' } }] };
  registry.addImage([BASE], { tag: 'manifest-with-manifests', change: (manifest) => ({ ...manifest, ...both }) });
  const index = { schemaVersion: 2, mediaType: OCI.index, ...both };
  registry.addManifest({ ...index, layers: [], config: {} }, OCI.index, 'index-with-layers');
  registry.addManifest(index, OCI.manifest, 'index-served-as-manifest');
  registry.addManifest({ schemaVersion: 2, ...both }, OCI.manifest, 'untyped-index-served-as-manifest');
  registry.addImage([BASE], { tag: 'fs-layers', change: (manifest) => ({ ...manifest, fsLayers: [] }) });
  registry.addManifest(
    { ...index, manifests: [{ ...image, mediaType: DOCKER.manifest }] },
    OCI.index,
    'other-descriptor',
  );
  registry.addManifest(Buffer.from('<html>'), 'text/html', 'html');
  registry.addManifest({ schemaVersion: 2, config: 7, layers: [] }, OCI.manifest, 'nonsense');
  registry.addManifest([], OCI.manifest, 'array');
  for (const tag of [
    'manifest-with-manifests',
    'index-with-layers',
    'index-served-as-manifest',
    'untyped-index-served-as-manifest',
    'fs-layers',
    'other-descriptor',
    'html',
    'nonsense',
    'array',
  ]) {
    await assert.rejects(openReference(`${registry.host}/app:${tag}`), { code: 'REGISTRY_PROTOCOL' }, tag);
  }
});

test('an untyped OCI manifest is accepted on the word of the transport', async () => {
  await using registry = await FakeRegistry.start();
  registry.addImage([BASE], { tag: 'untyped', change: (manifest) => ({ ...manifest, mediaType: undefined }) });
  await using opened = await openReference(`${registry.host}/app:untyped`);
  assert.equal(opened.image.layers.length, 1);
});

test('a manifest whose type nothing states, or only itself, is what its members say (I9)', async () => {
  await using registry = await FakeRegistry.start();
  const { digest } = registry.addImage([BASE], { tag: 'typed' });
  const change = (manifest: Record<string, unknown>) => ({ ...manifest, mediaType: undefined });
  const untyped = registry.addImage([BASE], { change });
  const entry = { mediaType: OCI.manifest, digest, size: 1, platform: { os: 'linux', architecture: 'amd64' } };
  registry.addManifest({ schemaVersion: 2, manifests: [entry] }, '', 'index');
  const served = (tag: string, type: string | readonly string[]): Handler => {
    return (request, response) => {
      request.url = request.url?.replace(/[^/]+$/u, tag) ?? '';
      const writeHead = response.writeHead.bind(response);
      response.writeHead = ((status: number, headers: Record<string, string>) => {
        for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
        response.removeHeader('content-type');
        if (type.length > 0) response.setHeader('content-type', type);
        return writeHead(status);
      }) as typeof response.writeHead;
      registry.serve(request, response);
    };
  };
  const types = ['', 'application/json', 'application/octet-stream', 'binary/octet-stream', 'text/html; charset=utf-8'];
  const manifests = [
    ...types,
    OCI.manifest.toUpperCase(),
    ['application/json', OCI.manifest],
    [OCI.manifest, OCI.manifest],
  ];
  for (const [tag, all] of [
    ['typed', manifests],
    [untyped.digest, manifests],
    ['index', types],
  ] as const) {
    for (const [at, type] of all.entries()) {
      registry.on(new RegExp(`manifests/case-${all.length}-${at}-${tag.length}$`, 'u'), served(tag, type));
      const name = `${registry.host}/app:case-${all.length}-${at}-${tag.length}`;
      await using opened = await openReference(name);
      assert.equal(opened.image.layers.length, 1, `${tag} as ${String(type)}`);
    }
  }
  registry.on(/manifests\/two$/u, served('typed', [OCI.manifest, OCI.index]));
  await assert.rejects(openReference(`${registry.host}/app:two`), {
    code: 'REGISTRY_PROTOCOL',
    message: /declared as/u,
  });
});

test('formats we do not read are named', async () => {
  await using registry = await FakeRegistry.start();
  const v1 = 'application/vnd.docker.distribution.manifest.v1+prettyjws';
  registry.addManifest({ schemaVersion: 1, fsLayers: [] }, v1, 'schema1');
  registry.addManifest({ schemaVersion: 1, fsLayers: [] }, 'application/json', 'schema1-json');
  const withLayer = (layer: Record<string, unknown>) => (manifest: Record<string, unknown>) => ({
    ...manifest,
    layers: [{ ...(manifest['layers'] as object[])[0], ...layer }],
  });
  registry.addImage([BASE], { tag: 'urls', change: withLayer({ urls: [`http://${registry.host}/steal`] }) });
  const foreign = 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip';
  registry.addImage([BASE], { tag: 'foreign', change: withLayer({ mediaType: foreign }) });
  const helm = 'application/vnd.cncf.helm.config.v1+json';
  const toHelm = (manifest: Record<string, unknown>) => ({
    ...manifest,
    config: { ...(manifest['config'] as object), mediaType: helm },
  });
  registry.addImage([BASE], { tag: 'helm', change: toHelm });
  registry.addManifest({ schemaVersion: 2, mediaType: 'application/x' }, 'application/x', 'unknown');
  for (const [tag, named] of [
    ['schema1', /manifest\.v1/u],
    ['schema1-json', /manifest\.v1/u],
    ['urls', /foreign urls/u],
    ['foreign', /foreign\.diff/u],
    ['helm', /helm/u],
    ['unknown', /application\/x/u],
  ] as const) {
    await assert.rejects(
      openReference(`${registry.host}/app:${tag}`),
      { code: 'MEDIA_TYPE_UNSUPPORTED', message: named },
      tag,
    );
  }
  assert.ok(!registry.log.some((line) => line.includes('steal')));
});

test('digests other than sha256 are refused before anything is requested by them', async () => {
  await using registry = await FakeRegistry.start();
  for (const [tag, digest] of [
    ['sha512', `sha512:${'a'.repeat(128)}`],
    ['path', 'sha256:../../../etc/passwd'],
    ['short', 'sha256:abc'],
    ['upper', `sha256:${'A'.repeat(64)}`],
  ] as const) {
    const change = (manifest: Record<string, unknown>) => ({
      ...manifest,
      layers: [{ mediaType: OCI.gzip, digest, size: 1 }],
    });
    registry.addImage([BASE], { tag, change });
    await assert.rejects(openReference(`${registry.host}/app:${tag}`), {
      code: 'REGISTRY_PROTOCOL',
      message: /sha256/u,
    });
  }
  registry.addImage([{ ...BASE, diffId: `sha512:${'a'.repeat(128)}` as never }], { tag: 'diff-id' });
  await assert.rejects(openReference(`${registry.host}/app:diff-id`), {
    code: 'REGISTRY_PROTOCOL',
    message: /sha256/u,
  });
  assert.ok(registry.log.every((line) => !line.includes('..')));
});

test('limits are named: manifest bytes, layers, config bytes, index entries', async () => {
  await using registry = await FakeRegistry.start();
  const huge = Buffer.alloc(limits.manifestBytesMax + 1, ' ');
  registry.addManifest(huge, OCI.manifest, 'huge');
  registry.on(/endless/u, (_, response) => {
    response.writeHead(200, { 'content-type': OCI.manifest });
    const chunk = Buffer.alloc(1024 * 1024, ' ');
    const pump = () => {
      while (!response.destroyed && response.write(chunk));
    };
    response.on('drain', pump);
    pump();
  });
  const descriptor = { mediaType: OCI.gzip, digest: sha256('x'), size: 1 };
  registry.addImage([], {
    tag: 'deep',
    change: (m) => ({ ...m, layers: Array.from({ length: 10_000 }, () => descriptor) }),
  });
  registry.addImage([], {
    tag: 'config',
    change: (m) => ({ ...m, config: { ...(m['config'] as object), size: limits.configBytesMax + 1 } }),
  });
  registry.addImage([], {
    tag: 'layer',
    change: (m) => ({ ...m, layers: [{ ...descriptor, size: limits.layerFileBytesMax + 1 }] }),
  });
  const manifests = Array.from({ length: limits.manifestsPerIndexMax + 1 }, () => ({
    ...descriptor,
    mediaType: OCI.manifest,
  }));
  registry.addManifest({ schemaVersion: 2, mediaType: OCI.index, manifests }, OCI.index, 'wide');
  for (const [tag, limit] of [
    ['huge', limits.manifestBytesMax],
    ['endless', limits.manifestBytesMax],
    ['deep', limits.layersPerImageMax],
    ['config', limits.configBytesMax],
    ['layer', limits.layerFileBytesMax],
    ['wide', limits.manifestsPerIndexMax],
  ] as const) {
    const named = new RegExp(`limit of ${limit} `, 'u');
    await assert.rejects(openReference(`${registry.host}/app:${tag}`), { code: 'IMAGE_LIMIT', message: named }, tag);
  }
});

test('a manifest and a config that disagree on the number of layers are refused', async () => {
  await using registry = await FakeRegistry.start();
  registry.addImage([BASE, TOP], { tag: '1', config: { rootfs: { type: 'layers', diff_ids: [BASE.diffId] } } });
  await assert.rejects(openReference(`${registry.host}/app:1`), {
    code: 'REGISTRY_PROTOCOL',
    message: /number of layers/u,
  });
});
