import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { streamRepr } from '../../../src/contract/stream.ts';
import { bench, build, built, FILES, filesOf } from './bench.ts';

const SECRET = 'correct-horse-battery-staple-7319';
const secrets = [{ id: 's', content: streamRepr(Buffer.from(SECRET)) }];

/** Names of the files below the data directory that contain a text. */
async function filesWith(text: string): Promise<string[]> {
  const entries = await readdir(bench.directory, { recursive: true, withFileTypes: true });
  const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const contents = await Promise.all(paths.map(async (path) => [path, await readFile(path, 'latin1')] as const));
  return contents.filter(([, content]) => content.includes(text)).map(([path]) => path);
}

test('a secret is stored nowhere: not in a layer, the log, the lineage or a key', async () => {
  const file = `FROM base
RUN --mount=type=secret,id=s mkdir -p /run /run/secrets && touch /run/secrets/s /one
RUN --mount=type=secret,id=s,env=PLAIN touch /two`;
  const { operation, events } = await build({ dockerfile_text: file, secrets });
  assert.equal(operation.status, 'SUCCESS', operation.error ?? '');
  const spawned = events.filter((event) => event.type === 'spawn');
  assert.deepEqual(
    spawned.map(({ data }) => data.env?.['PLAIN']),
    [undefined, '<MASKED>'],
  );
  const image = operation.result?.image ?? '';
  assert.ok(!JSON.stringify([operation, events, bench.store.images.lineage(image)]).includes(SECRET));
  assert.deepEqual(await filesWith(SECRET), []);
  assert.deepEqual(await filesOf(image, '/run/secrets/s'), [], 'what is written over it is not kept either');
  assert.deepEqual((await filesOf(image)).filter((line) => /^\/(?:one|two) /u.test(line)).length, 2);
});

test('another value of a secret makes no step again, and another content that is bound does', async () => {
  const secret = 'FROM base\nRUN --mount=type=secret,id=s touch /same';
  const one = await built(secret, {}, { secrets });
  const two = await built(secret, {}, { secrets: [{ id: 's', content: streamRepr(Buffer.from('other')) }] });
  assert.equal(one.uuid, two.uuid);
  const bound = 'FROM base\nRUN --mount=type=bind,source=d,target=/m touch /bound';
  const first = await built(bound, FILES);
  assert.equal((await built(bound, { ...FILES, unrelated: 'x' })).uuid, first.uuid);
  assert.notEqual((await built(bound, { ...FILES, 'd/e/b.txt': 'B' })).uuid, first.uuid);
});
