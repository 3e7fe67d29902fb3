import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { isFault } from '../../../src/contract/errors.ts';
import { importImage } from '../../../src/images/import/import-image.ts';
import { openArchive } from '../../../src/images/import/archive/open.ts';
import { PLATFORM } from '../../registry/support.ts';
import { Scratch } from '../../support/layers.ts';
import { imageConfig, json, OCI, sha256 } from '../../support/servers/registry.ts';
import { tarOf } from '../../support/tar.ts';
import { openStore, tarLayer } from './support.ts';

const CODES: ReadonlySet<string> = new Set([
  'ARCHIVE_INVALID',
  'DIGEST_MISMATCH',
  'IMAGE_LIMIT',
  'LAYER_LIMIT',
  'LAYER_MALFORMED',
  'MEDIA_TYPE_UNSUPPORTED',
  'PLATFORM_UNSUPPORTED',
]);

/** xorshift32: the same damage in every run. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

function layout(): Buffer {
  const layers = [tarLayer([{ path: 'a', content: 'a' }], 'none'), tarLayer([{ path: 'b', content: 'b' }])];
  const members: { path: string; content: Buffer }[] = [];
  const add = (content: Buffer, mediaType: string) => {
    members.push({ path: `blobs/sha256/${sha256(content).slice(7)}`, content });
    return { mediaType, digest: sha256(content), size: content.length };
  };
  const manifest = json({
    schemaVersion: 2,
    mediaType: OCI.manifest,
    config: add(json(imageConfig(layers)), OCI.config),
    layers: layers.map(({ bytes, mediaType }) => add(bytes, mediaType)),
  });
  const index = json({ schemaVersion: 2, manifests: [add(manifest, OCI.manifest)] });
  members.push(
    { path: 'oci-layout', content: json({ imageLayoutVersion: '1.0.0' }) },
    { path: 'index.json', content: index },
  );
  return tarOf(members);
}

function damaged(bytes: Buffer, below: (limit: number) => number): Buffer {
  const copy = Buffer.from(bytes);
  for (let flips = 1 + below(4); flips > 0; flips -= 1) copy[below(copy.length)]! ^= 1 << below(8);
  return below(4) === 0 ? copy.subarray(0, below(copy.length)) : copy;
}

test('a damaged archive is imported right or refused with a fault, and leaves nothing', async () => {
  await using bench = await openStore();
  await using scratch = await Scratch.create();
  const path = scratch.path();
  const { store } = bench;
  const signal = AbortSignal.timeout(60_000);
  const seeds = [layout(), gzipSync(layout())];
  let imported = 0;
  for (let seed = 1; seed <= 150; seed += 1) {
    const below = random(seed * 2_654_435_761);
    const bytes = damaged(seeds[seed % 2]!, below);
    await writeFile(path, bytes);
    const source = { path, bytes: bytes.length, digest: sha256(bytes), name: 'x', tmp: store.tmp, platform: PLATFORM };
    try {
      await using image = await openArchive(source, signal);
      await importImage(store, image, () => undefined, signal);
      imported += 1;
    } catch (error) {
      assert.ok(isFault(error) && CODES.has(error.code), `seed ${seed}: ${String(error)}`);
    }
  }
  assert.ok(imported < 150, 'damage is noticed');
  assert.deepEqual(await bench.leftovers(), []);
});
