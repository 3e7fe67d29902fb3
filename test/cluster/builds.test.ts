import assert from 'node:assert/strict';
import { text } from 'node:stream/consumers';
import { after, before, test } from 'node:test';
import type { ConTree } from '../../src/contract/contree.ts';
import { finished, once } from '../engine/bench.ts';
import { tarOf } from '../support/tar.ts';
import { TestCluster } from './support/bench.ts';
import { Postgres } from './support/postgres.ts';

let postgres: Postgres;
before(async () => {
  postgres = await Postgres.open();
});
after(() => postgres[Symbol.asyncDispose]());

const OWNER = { project: 'default', isOwner: true } as const;

/** Builds an image and returns its UUID. */
async function built(contree: ConTree, dockerfile: string, tag: string): Promise<string> {
  const { uuid: file } = await contree.uploads.create(once(tarOf([{ path: 'f', content: 'from the context' }])));
  const { uuid } = await contree.images.build({ dockerfile_text: dockerfile, context: { file }, tag });
  const { status, error, result } = await finished(contree, uuid);
  assert.equal(status, 'SUCCESS', String(error));
  return result!.image!;
}

async function read(contree: ConTree, image: string, path: string): Promise<string> {
  return text((await contree.files.read(image, { path })).body);
}

test('an image that one node built is built upon by another, from its tag', async () => {
  await using cluster = await TestCluster.open(await postgres.database());
  const base = await cluster.addRoot();
  const asked = (await cluster.join('asked', { works: false })).node.forTenant(OWNER);
  const first = await cluster.join('first');
  await asked.tags.set(base, { tag: 'base' });
  const made = await built(asked, 'FROM base\nRUN echo one > /1\nCOPY f /f', 'made:1');
  assert.equal(await read(asked, made, '/f'), 'from the context');
  await first[Symbol.asyncDispose]();
  await cluster.join('second');
  const upon = await built(asked, 'FROM made:1\nRUN echo two > /2', 'made:2');
  assert.deepEqual(
    [await read(asked, upon, '/1'), await read(asked, upon, '/2'), await read(asked, 'tag:made:2', '/f')],
    ['one\n', 'two\n', 'from the context'],
  );
  assert.equal(
    (await asked.images.lineage(upon)).ancestors.some(({ uuid }) => uuid === made),
    true,
  );
});
