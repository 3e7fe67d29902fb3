import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DOCKER, FakeRegistry, OCI } from '../support/servers/registry.ts';
import { layerOf, openReference } from './support.ts';

const LAYER = layerOf('x');
const AMD64 = { os: 'linux', architecture: 'amd64' };

test('what a builder wrote into the configuration never makes an image unimportable (I8, B4)', async () => {
  await using registry = await FakeRegistry.start();
  const odd = {
    config: {
      Env: ['A=1', 7, null, 'B=2', 'A=3', '__proto__=p'],
      Entrypoint: '/bin/sh',
      Cmd: '-l',
      User: 1000,
      WorkingDir: ['/'],
      Labels: { kept: 'yes', none: null, number: 5 },
      ExposedPorts: 'x',
    },
    history: 'long ago',
  };
  registry.addImage([LAYER], { tag: 'odd', config: odd });
  await using opened = await openReference(`${registry.host}/app:odd`);
  const { config, history, leftOut } = opened.image;
  assert.deepEqual([config.entrypoint, config.cmd, config.user], [['/bin/sh'], ['-l'], '1000']);
  assert.deepEqual(Object.entries(config.env), [
    ['A', '3'],
    ['B', '2'],
    ['__proto__', 'p'],
  ]);
  assert.deepEqual([config.cwd, config.labels, history], ['', { kept: 'yes' }, []]);
  assert.deepEqual(leftOut, ['2 of Env', 'WorkingDir', '2 of Labels', 'ExposedPorts', 'history']);

  for (const [tag, config] of Object.entries({ text: 'x', list: [], labels: { Labels: ['a'] }, none: null })) {
    registry.addImage([LAYER], { tag, config: { config } });
    await using again = await openReference(`${registry.host}/app:${tag}`);
    assert.deepEqual(again.image.config.labels, {}, tag);
  }
});

test('a platform is recognized however it is written, and what is missing is not held against the image (I8)', async () => {
  await using registry = await FakeRegistry.start();
  const written = [
    { os: 'Linux', architecture: 'AMD64' },
    { architecture: 'x86_64' },
    { os: undefined },
    { architecture: null },
  ];
  for (const [at, config] of [...written, { architecture: undefined, os: undefined }, { variant: 7 }].entries()) {
    registry.addImage([LAYER], { tag: `${at}`, config });
    await using opened = await openReference(`${registry.host}/app:${at}`);
    assert.equal(opened.image.layers.length, 1);
  }
  const arm = registry.addImage([LAYER], { config: { architecture: 'aarch64' } });
  const intel = registry.addImage([LAYER], { config: { architecture: 'x86_64' } });
  const manifests = [
    { ...arm, platform: { os: 'linux', architecture: 'aarch64' } },
    { ...intel, platform: { os: 'Linux', architecture: 'X86_64' } },
  ];
  const { digest } = registry.addManifest({ schemaVersion: 2, mediaType: OCI.index, manifests }, OCI.index, 'index');
  await using opened = await openReference(`${registry.host}/app:index`);
  assert.equal(opened.image.digest, digest);
  registry.addImage([LAYER], { tag: 'arm', config: { architecture: 'aarch64' } });
  await assert.rejects(openReference(`${registry.host}/app:arm`), { code: 'PLATFORM_UNSUPPORTED' });
});

test('entries of an index that are not images neither are chosen nor hide the image (I13, B7)', async () => {
  await using registry = await FakeRegistry.start();
  const image = registry.addImage([LAYER]);
  const arm = registry.addImage([LAYER], { config: { architecture: 'arm64' } });
  const empty = registry.addBlob(Buffer.from('{}'), 'application/vnd.oci.empty.v1+json');
  const artifact = registry.addManifest(
    {
      schemaVersion: 2,
      mediaType: OCI.manifest,
      artifactType: 'application/x.signature',
      config: empty,
      layers: [empty],
    },
    OCI.manifest,
  );
  const attestation = {
    ...artifact,
    platform: { os: 'unknown', architecture: 'unknown' },
    annotations: { 'vnd.docker.reference.type': 'attestation-manifest', number: 7 },
  };
  const odd: readonly unknown[] = [
    artifact,
    { ...artifact, artifactType: 'application/x.signature' },
    attestation,
    7,
    null,
    {},
  ];
  const cases: Readonly<Record<string, readonly unknown[]>> = {
    platform: [...odd, { ...image, platform: AMD64 }],
    silent: [...odd, image],
    'silent-other': [...odd, arm, image],
    docker: [...odd, { ...image, platform: { ...AMD64, variant: '' } }],
  };
  for (const [tag, manifests] of Object.entries(cases)) {
    registry.addManifest({ schemaVersion: 2, mediaType: OCI.index, manifests }, OCI.index, tag);
    await using opened = await openReference(`${registry.host}/app:${tag}`);
    assert.equal(opened.image.layers.length, 1, tag);
  }
  const others = [...odd.slice(1), { ...arm, platform: { os: 'linux', architecture: 'arm64' } }];
  registry.addManifest({ schemaVersion: 2, mediaType: OCI.index, manifests: others }, OCI.index, 'none');
  await assert.rejects(openReference(`${registry.host}/app:none`), {
    code: 'PLATFORM_UNSUPPORTED',
    message: /linux\/arm64/u,
  });
  registry.addManifest({ schemaVersion: 2, mediaType: DOCKER.list, manifests: [artifact] }, DOCKER.list, 'artifact');
  await assert.rejects(openReference(`${registry.host}/app:artifact`), { code: 'MEDIA_TYPE_UNSUPPORTED' });
});
