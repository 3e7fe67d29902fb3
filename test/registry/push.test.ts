import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { startRegistry } from '../../scripts/support/registry.ts';
import { RegistryClient } from '../../src/registry/client.ts';
import { digestOf } from '../../src/registry/digest.ts';
import { type PushBlob, pushBlob, pushManifest } from '../../src/registry/push.ts';
import { parseReference } from '../../src/registry/reference.ts';
import { FakeRegistry, imageConfig, json, OCI, status } from '../support/servers/registry.ts';
import { layerOf, openReference, read } from './support.ts';

const signal = AbortSignal.timeout(60_000);
/** Larger than any answer that is read as a whole: it is the Content-Length of a HEAD answer. */
const LAYER = layerOf('a layer '.repeat(100_000), 'none');
const CONFIG = json(imageConfig([LAYER]));

function blobOf(bytes: Buffer): PushBlob {
  return {
    digest: digestOf(bytes),
    bytes: bytes.length,
    open: async function* () {
      for (let start = 0; start < bytes.length; start += 1000) yield bytes.subarray(start, start + 1000);
    },
  };
}

const MANIFEST = json({
  schemaVersion: 2,
  mediaType: OCI.manifest,
  config: { mediaType: OCI.config, digest: digestOf(CONFIG), size: CONFIG.length },
  layers: [{ mediaType: OCI.layer, digest: digestOf(LAYER.bytes), size: LAYER.bytes.length }],
});

test('what is pushed to a real registry can be inspected by skopeo and pulled again', async () => {
  await using registry = await startRegistry();
  const reference = parseReference(`${registry.host}/team/pushed:v1`);
  await using client = new RegistryClient(registry.host, {}, async () => undefined);
  assert.equal(await pushBlob(client, reference, blobOf(LAYER.bytes), signal), true);
  assert.equal(await pushBlob(client, reference, blobOf(LAYER.bytes), signal), false, 'it is there already');
  assert.equal(await pushBlob(client, reference, blobOf(CONFIG), signal), true);
  const digest = await pushManifest(client, reference, { bytes: MANIFEST, mediaType: OCI.manifest }, signal);
  assert.equal(digest, digestOf(MANIFEST));

  const args = ['inspect', '--tls-verify=false', `docker://${registry.host}/team/pushed:v1`];
  const { stdout } = await promisify(execFile)('skopeo', args, { signal });
  const inspected = JSON.parse(stdout) as { Digest: string; Layers: string[] };
  assert.equal(inspected.Digest, digest);
  assert.deepEqual(inspected.Layers, [digestOf(LAYER.bytes)]);

  await using opened = await openReference(`${registry.host}/team/pushed:v1`);
  assert.deepEqual(await read(opened.image.layers[0]!.open(signal)), LAYER.bytes);
  await assert.rejects(openReference(`${registry.host}/team/other:v1`), { code: 'MANIFEST_NOT_FOUND' });
});

test('a registry that received something else is found out', async () => {
  await using registry = await FakeRegistry.start();
  const client = new RegistryClient(registry.host, { wait: async () => undefined }, async () => undefined);
  await using _ = client;
  const reference = parseReference(`${registry.host}/app:1`);
  registry.on(/POST/u, status(202, { location: '/v2/app/blobs/uploads/1?state=x' }));
  registry.on(/PUT/u, status(201, { 'docker-content-digest': digestOf(Buffer.from('else')) }));
  await assert.rejects(pushBlob(client, reference, blobOf(CONFIG), signal), { code: 'DIGEST_MISMATCH' });
  assert.match(registry.log.at(-1) ?? '', /uploads\/1\?state=x&digest=sha256%3A/u);
  await assert.rejects(pushManifest(client, reference, { bytes: MANIFEST, mediaType: OCI.manifest }, signal), {
    code: 'DIGEST_MISMATCH',
  });
  const pinned = parseReference(`${registry.host}/app@${digestOf(Buffer.from('pinned'))}`);
  await assert.rejects(pushManifest(client, pinned, { bytes: MANIFEST, mediaType: OCI.manifest }, signal), {
    code: 'DIGEST_MISMATCH',
  });
});

test('an upload is tried again as a whole, and a refused one is a denial', async () => {
  await using registry = await FakeRegistry.start();
  await using client = new RegistryClient(registry.host, { wait: async () => undefined }, async () => undefined);
  const reference = parseReference(`${registry.host}/app:1`);
  const received: number[] = [];
  registry.on(/POST/u, status(202, { location: '/v2/app/blobs/uploads/1' }));
  registry.on(/PUT/u, (request, response) => {
    let bytes = 0;
    request.on('data', (chunk: Buffer) => (bytes += chunk.length));
    request.on('end', () => {
      received.push(bytes);
      response.writeHead(received.length < 2 ? 503 : 201).end();
    });
  });
  assert.equal(await pushBlob(client, reference, blobOf(CONFIG), signal), true);
  assert.deepEqual(received, [CONFIG.length, CONFIG.length]);
  registry.on(/HEAD/u, status(403));
  const other = blobOf(Buffer.from('other'));
  await assert.rejects(pushBlob(client, parseReference(`${registry.host}/b:1`), other, signal), {
    code: 'REGISTRY_DENIED',
  });
});

test('an upload is not sent to an address inside, whatever the registry says', async () => {
  await using registry = await FakeRegistry.start();
  await using inside = await FakeRegistry.start();
  await using client = new RegistryClient(registry.host, {}, async () => ({ username: 'a', password: 'b' }));
  registry.on(/POST/u, status(202, { location: `http://localhost:${inside.port}/x` }));
  const reference = parseReference(`${registry.host}/app:1`);
  await assert.rejects(pushBlob(client, reference, blobOf(CONFIG), signal), { code: 'REGISTRY_ADDRESS_DENIED' });
  assert.deepEqual(inside.log, []);
});
