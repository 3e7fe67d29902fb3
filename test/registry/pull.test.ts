import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { limits } from '../../src/contract/limits.ts';
import { findDigest } from '../../src/registry/pull.ts';
import { parseReference } from '../../src/registry/reference.ts';
import { cutAfter, DOCKER, FakeRegistry, imageConfig, OCI, sha256, status } from '../support/servers/registry.ts';
import { layerOf, openReference, read } from './support.ts';

const BASE = layerOf('base '.repeat(100));
const TOP = layerOf('top', 'zstd');

test('openImage reads manifest and config of an OCI image, and its layers on demand', async () => {
  await using registry = await FakeRegistry.start();
  const plain = layerOf('plain', 'none');
  const { digest } = registry.addImage([BASE, TOP, plain], {
    tag: '1',
    config: {
      config: {
        Env: ['PATH=/bin', 'A=b=c', 'EMPTY=', 'nothing', '=x'],
        WorkingDir: '/srv',
        User: '1000:1000',
        Entrypoint: ['/init'],
        Cmd: null,
        Labels: { l: 'v' },
      },
      history: [
        { created_by: 'ADD base', created: '2026-01-01T00:00:00Z' },
        { empty_layer: true, comment: null },
      ],
    },
  });
  await using opened = await openReference(`${registry.host}/team/app:1`);
  const { image } = opened;
  assert.equal(image.reference, `docker://${registry.host}/team/app:1`);
  assert.equal(image.digest, digest);
  assert.deepEqual(image.config, {
    env: { PATH: '/bin', A: 'b=c', EMPTY: '' },
    cwd: '/srv',
    user: '1000:1000',
    entrypoint: ['/init'],
    cmd: [],
    labels: { l: 'v' },
  });
  assert.deepEqual(image.history, [{ created_by: 'ADD base', created: '2026-01-01T00:00:00Z' }, { empty_layer: true }]);
  assert.equal(registry.log.filter((line) => line.includes('/blobs/')).length, 1, 'only the config was fetched');
  const signal = AbortSignal.timeout(5_000);
  for (const [index, layer] of [BASE, TOP, plain].entries()) {
    const found = image.layers[index]!;
    assert.equal(found.diffId, layer.diffId);
    assert.equal(found.bytes, layer.bytes.length);
    assert.deepEqual(await read(found.open(signal)), layer.bytes);
    assert.deepEqual(await read(found.open(signal)), layer.bytes, 'a layer can be opened again');
  }
});

test('openImage reads Docker schema 2 and a manifest list', async () => {
  await using registry = await FakeRegistry.start();
  const config = registry.addBlob(Buffer.from(JSON.stringify(imageConfig([BASE]))), DOCKER.config);
  const layers = [registry.addBlob(BASE.bytes, DOCKER.gzip)];
  const manifest = registry.addManifest(
    { schemaVersion: 2, mediaType: DOCKER.manifest, config, layers },
    DOCKER.manifest,
  );
  const list = {
    schemaVersion: 2,
    mediaType: DOCKER.list,
    manifests: [
      { ...manifest, digest: sha256('arm'), platform: { os: 'linux', architecture: 'arm64' } },
      { ...manifest, platform: { os: 'linux', architecture: 'amd64' } },
    ],
  };
  const { digest } = registry.addManifest(list, DOCKER.list, 'latest');
  await using opened = await openReference(`docker://${registry.host}/app`);
  assert.equal(opened.image.digest, digest, 'the digest is that of what the tag names');
  assert.equal(opened.image.layers[0]?.diffId, BASE.diffId);
});

test('openImage follows an index to the right platform and the best variant', async () => {
  await using registry = await FakeRegistry.start();
  const build = (name: string, platform: Record<string, string>) => {
    const layer = layerOf(name);
    return {
      ...registry.addImage([layer], { config: { os: platform['os'], architecture: platform['architecture'] } }),
      platform,
    };
  };
  const manifests = [
    build('v3', { os: 'linux', architecture: 'amd64', variant: 'v3' }),
    build('windows', { os: 'windows', architecture: 'amd64' }),
    build('v5', { os: 'linux', architecture: 'arm', variant: 'v5' }),
    build('v7', { os: 'linux', architecture: 'arm', variant: 'v7' }),
    build('v6', { os: 'linux', architecture: 'arm', variant: 'v6' }),
    build('plain', { os: 'linux', architecture: 'amd64' }),
    {
      ...build('attestation', { os: 'linux', architecture: 'amd64' }),
      platform: { os: 'unknown', architecture: 'unknown' },
    },
    { mediaType: 'application/vnd.example.thing', digest: 'odd', size: -1 },
  ];
  registry.addManifest({ schemaVersion: 2, mediaType: OCI.index, manifests }, OCI.index, 'multi');
  const layerFor = async (platform: { os: string; architecture: string; variant?: string }) => {
    await using opened = await openReference(`${registry.host}/app:multi`, { platform });
    return opened.image.layers[0]?.diffId;
  };
  assert.equal(await layerFor({ os: 'linux', architecture: 'amd64' }), layerOf('plain').diffId);
  assert.equal(await layerFor({ os: 'linux', architecture: 'amd64', variant: 'v3' }), layerOf('v3').diffId);
  assert.equal(await layerFor({ os: 'linux', architecture: 'arm', variant: 'v7' }), layerOf('v7').diffId);
  assert.equal(await layerFor({ os: 'linux', architecture: 'arm', variant: 'v6' }), layerOf('v6').diffId);
  await assert.rejects(layerFor({ os: 'linux', architecture: 's390x' }), {
    code: 'PLATFORM_UNSUPPORTED',
    message: /no image for linux\/s390x, only for linux\/amd64\/v3, windows\/amd64, linux\/arm\/v5, .*linux\/amd64$/u,
  });
});

test('openImage names the architecture of a single image that is not ours', async () => {
  await using registry = await FakeRegistry.start();
  registry.addImage([BASE], { tag: 'arm', config: { architecture: 'arm64', variant: 'v8' } });
  await assert.rejects(openReference(`${registry.host}/app:arm`), {
    code: 'PLATFORM_UNSUPPORTED',
    message: /no image for linux\/amd64, only for linux\/arm64\/v8/u,
  });
});

test('openImage follows a nested index, but not forever', async () => {
  await using registry = await FakeRegistry.start();
  let inner = registry.addImage([BASE]);
  for (let depth = 1; depth <= limits.indexDepthMax + 1; depth += 1) {
    const document = { schemaVersion: 2, mediaType: OCI.index, manifests: [inner] };
    inner = registry.addManifest(document, OCI.index, `depth-${depth}`);
  }
  await using opened = await openReference(`${registry.host}/app:depth-${limits.indexDepthMax}`);
  assert.equal(opened.image.layers.length, 1);
  await assert.rejects(openReference(`${registry.host}/app:depth-${limits.indexDepthMax + 1}`), {
    code: 'IMAGE_LIMIT',
    message: /nested indexes/u,
  });
});

test('a digest in the reference must be that of what comes', async () => {
  await using registry = await FakeRegistry.start();
  const { digest } = registry.addImage([BASE]);
  await using opened = await openReference(`${registry.host}/app:ignored@${digest}`);
  assert.equal(opened.image.digest, digest);
  const other = sha256('other');
  registry.on(/GET .*manifests\/sha256:/u, (request, response) => {
    request.url = `/v2/app/manifests/${digest}`;
    registry.serve(request, response);
  });
  await assert.rejects(openReference(`${registry.host}/app@${other}`), { code: 'DIGEST_MISMATCH' });
});

test('statuses become faults that say what to do', async () => {
  await using registry = await FakeRegistry.start();
  const cases: readonly (readonly [string, number, string])[] = [
    ['denied', 401, 'REGISTRY_DENIED'],
    ['forbidden', 403, 'REGISTRY_DENIED'],
    ['missing', 404, 'MANIFEST_NOT_FOUND'],
    ['limited', 429, 'REGISTRY_RATE_LIMITED'],
    ['broken', 500, 'REGISTRY_UNREACHABLE'],
    ['teapot', 418, 'REGISTRY_PROTOCOL'],
    ['nothing', 204, 'REGISTRY_PROTOCOL'],
  ];
  for (const [tag, code, name] of cases) {
    registry.on(new RegExp(`manifests/${tag}$`, 'u'), status(code));
    await assert.rejects(openReference(`${registry.host}/app:${tag}`), { code: name }, tag);
  }
  await assert.rejects(openReference(`${registry.host}/app:absent`), {
    code: 'MANIFEST_NOT_FOUND',
    message: `the registry has no image docker://${registry.host}/app:absent`,
  });
});

test('a registry that asks to wait is obeyed, within reason', async () => {
  await using registry = await FakeRegistry.start();
  registry.addImage([BASE], { tag: '1' });
  registry.on(/manifests\/1$/u, status(429, { 'retry-after': '7' }), 2);
  registry.on(/manifests\/1$/u, status(503), 1);
  await using opened = await openReference(`${registry.host}/app:1`);
  assert.deepEqual(opened.waits.slice(0, 2), [7_000, 7_000]);
  assert.ok(opened.waits.length === 3 && opened.waits[2]! >= limits.registryBackoffMs, String(opened.waits));

  const later = new Date(Date.now() + 3_600_000).toUTCString();
  registry.on(/manifests\/2$/u, status(429, { 'retry-after': later }));
  const refused = await openReference(`${registry.host}/app:2`).catch((error: unknown) => error);
  const { code, detail, waits } = refused as { code: string; detail: { retryAfterSeconds: number }; waits: number[] };
  assert.equal(code, 'REGISTRY_RATE_LIMITED');
  assert.ok(detail.retryAfterSeconds > 3_500 && detail.retryAfterSeconds <= 3_600, String(detail.retryAfterSeconds));
  assert.deepEqual(waits, [], 'an hour is not waited for');
  assert.equal(registry.log.filter((line) => line.endsWith('manifests/2')).length, 1);
});

test('retries are bounded, and waiting ends with the signal', async () => {
  await using registry = await FakeRegistry.start();
  registry.on(/manifests/u, status(503));
  await assert.rejects(openReference(`${registry.host}/app:1`), { code: 'REGISTRY_UNREACHABLE', message: /HTTP 503/u });
  assert.equal(registry.seen.length, limits.registryRetriesMax + 1);
  const abort = new AbortController();
  registry.on(/never/u, () => undefined);
  registry.on(/patience/u, status(429, { 'retry-after': '50' }));
  const pause = (_ms: number, signal: AbortSignal) =>
    new Promise<void>((_resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason as Error));
      setImmediate(() => abort.abort(new Error('enough')));
    });
  await assert.rejects(
    openReference(`${registry.host}/app:patience`, { settings: { wait: pause }, signal: abort.signal }),
    /enough/u,
  );
});

test('a registry that is down is reported with the reason', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  await assert.rejects(openReference(`127.0.0.1:${port}/app`), {
    code: 'REGISTRY_UNREACHABLE',
    message: new RegExp(`127\\.0\\.0\\.1:${port} does not answer: the connection was refused`, 'u'),
  });
  await assert.rejects(openReference('registry.invalid/app'), {
    code: 'REGISTRY_UNREACHABLE',
    message: /name/u,
  });
});

test('a server without HTTP is not a registry', async () => {
  const server = createServer((socket) => socket.on('error', () => undefined).end('SSH-2.0-nothing\r\n\r\n')).listen(
    0,
    '127.0.0.1',
  );
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  try {
    await assert.rejects(openReference(`127.0.0.1:${port}/app`), { code: 'REGISTRY_PROTOCOL', message: /not HTTP/u });
  } finally {
    server.close();
  }
});

test('a request that is never answered ends with the signal', async () => {
  await using registry = await FakeRegistry.start();
  const abort = new AbortController();
  registry.on(/manifests/u, () => abort.abort(new Error('enough')));
  await assert.rejects(openReference(`${registry.host}/app`, { signal: abort.signal }), /enough/u);
});

test('findDigest asks with HEAD only', async () => {
  await using registry = await FakeRegistry.start();
  const { digest } = registry.addImage([BASE], { tag: '1' });
  await using opened = await openReference(`${registry.host}/app:1`);
  registry.seen.length = 0;
  const signal = AbortSignal.timeout(5_000);
  const { client } = opened;
  assert.equal(await findDigest({ client, reference: parseReference(`${registry.host}/app:1`) }, signal), digest);
  assert.deepEqual(registry.log, ['HEAD /v2/app/manifests/1']);
  const pinned = parseReference(`${registry.host}/app@${digest}`);
  assert.equal(await findDigest({ client, reference: pinned }, signal), digest);
  assert.equal(registry.log.length, 2, 'a digest is known, but not whether we may have it');
  const absent = parseReference(`${registry.host}/app:absent`);
  assert.equal(await findDigest({ client, reference: absent }, signal), undefined, 'only GET decides');
  registry.on(/silent/u, status(200));
  assert.equal(
    await findDigest({ client, reference: parseReference(`${registry.host}/app:silent`) }, signal),
    undefined,
  );
});

test('whatever a registry answers to HEAD, GET decides (I10)', async () => {
  await using registry = await FakeRegistry.start();
  const { digest } = registry.addImage([BASE], { tag: '1' });
  await using opened = await openReference(`${registry.host}/app:1`);
  const { client, waits } = opened;
  for (const code of [400, 401, 403, 404, 405, 429, 500, 501, 503]) {
    registry.on(/HEAD/u, status(code), 2);
    for (const name of ['app:1', `app@${digest}`]) {
      const reference = parseReference(`${registry.host}/${name}`);
      assert.equal(await findDigest({ client, reference }, AbortSignal.timeout(5_000)), undefined, String(code));
    }
  }
  registry.on(/HEAD/u, (_, response) => void response.destroy(), 1);
  const reference = parseReference(`${registry.host}/app:1`);
  assert.equal(await findDigest({ client, reference }, AbortSignal.timeout(5_000)), undefined);
  assert.deepEqual(waits, [], 'a question that may fail is not repeated');
});

test('an interrupted config is read on', async () => {
  await using registry = await FakeRegistry.start();
  registry.addImage([BASE], { tag: '1' });
  registry.on(/blobs/u, cutAfter(registry, 10), 1);
  await using opened = await openReference(`${registry.host}/app:1`);
  assert.equal(opened.image.layers.length, 1);
  assert.deepEqual(registry.seen.map(({ headers }) => headers.range).filter(Boolean), ['bytes=10-']);
});
