import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { fault, isFault } from '../../src/contract/errors.ts';
import { parseConfig } from '../../src/registry/image-config.ts';
import { parseDocument } from '../../src/registry/manifest.ts';
import { imageConfig, json, OCI, sha256 } from '../support/servers/registry.ts';
import { layerOf } from './support.ts';

const refuse = (reason: string) => fault('REGISTRY_PROTOCOL', { registry: 'fake', reason });
const DESCRIPTOR = {
  mediaType: OCI.manifest,
  digest: sha256('x'),
  size: 1,
  platform: { os: 'linux', architecture: 'arm' },
};
const LAYER = { mediaType: OCI.gzip, digest: sha256('y'), size: 1 };
const SEEDS: readonly object[] = [
  { schemaVersion: 2, mediaType: OCI.index, manifests: [DESCRIPTOR, DESCRIPTOR] },
  { schemaVersion: 2, mediaType: OCI.manifest, config: { ...LAYER, mediaType: OCI.config }, layers: [LAYER, LAYER] },
  imageConfig([layerOf('a'), layerOf('b')], { config: { Env: ['A=b'] }, history: [{ created_by: 'x' }] }) as object,
];

/** Every path to a value inside a JSON document. */
function pathsOf(value: unknown, path: readonly (string | number)[] = []): (readonly (string | number)[])[] {
  if (typeof value !== 'object' || value === null) return [path];
  return [path, ...Object.entries(value).flatMap(([key, inner]) => pathsOf(inner, [...path, key]))];
}

function replaced(document: object, path: readonly (string | number)[], value: unknown): unknown {
  const copy = structuredClone({ document }) as Record<string | number, unknown>;
  const [last = 'document', ...rest] = ['document', ...path].toReversed();
  let parent = copy;
  for (const key of rest.toReversed()) parent = parent[key] as Record<string | number, unknown>;
  parent[last] = value;
  return copy['document'];
}

test('no JSON in any place of a manifest or config makes more than a fault', () => {
  const mutation = fc.constantFrom(...SEEDS).chain((document) =>
    fc.record({
      document: fc.constant(document),
      path: fc.constantFrom(...pathsOf(document)),
      value: fc.jsonValue({ maxDepth: 3 }),
    }),
  );
  const codes = ['REGISTRY_PROTOCOL', 'MEDIA_TYPE_UNSUPPORTED', 'IMAGE_LIMIT'];
  fc.assert(
    fc.property(mutation, ({ document, path, value }) => {
      const bytes = json(replaced(document, path, value) ?? null);
      for (const parse of [
        () => parseDocument(bytes, [], refuse),
        () => parseDocument(bytes, [OCI.index], refuse),
        () => parseConfig(bytes, refuse),
      ]) {
        try {
          parse();
        } catch (error) {
          assert.ok(isFault(error) && codes.includes(error.code), String(error));
        }
      }
    }),
    { seed: 11, numRuns: 3_000 },
  );
});

test('names in a config that mean something to JavaScript are plain names', () => {
  const config = imageConfig([layerOf('a')], { config: { Env: ['__proto__=x', 'constructor=y', 'toString=z'] } });
  const { config: parsed } = parseConfig(json(config), refuse);
  assert.deepEqual(Object.entries(parsed.env), [
    ['__proto__', 'x'],
    ['constructor', 'y'],
    ['toString', 'z'],
  ]);
});
