import assert from 'node:assert/strict';
import type { Image } from '../../../src/contract/image.ts';
import type { Here, Statement } from './here.ts';

const NOWHERE = '6f9619ff-8b86-4d01-b42d-00cf4fc964ff';

async function list({ send }: Here, query: string): Promise<readonly Image[]> {
  const { status, json } = await send('GET', `/v1/images?${query}`);
  assert.equal(status, 200, query);
  return (json as { images: Image[] }).images;
}

async function tag({ send, image }: Here, name: string): Promise<void> {
  assert.equal((await send('PATCH', `/v1/images/${image}/tag`, { body: { tag: name } })).status, 200);
}

async function root(here: Here): Promise<string> {
  const { result_image_uuid: uuid } = await here.run({ command: 'touch', args: ['/made'] });
  assert.ok(uuid);
  return uuid;
}

async function imported(here: Here, body: object): Promise<{ image: string; uuid: string }> {
  const { status, headers, json } = await here.send('POST', '/v1/images/import', { body });
  const { uuid } = json as { uuid: string };
  assert.deepEqual([status, headers.location], [201, `/v1/operations/${uuid}`]);
  const { result, status: end } = await here.ended(uuid);
  assert.equal(end, 'SUCCESS');
  return { image: result?.image ?? '', uuid };
}

const LISTS: readonly Statement[] = [
  ...(['/images', '/files', '/operations'] as const).map((path): Statement => [
    `list bounds ${path}`,
    'limit is 1 to 1000, offset 0 or more; anything else is a 400',
    async ({ send }) => {
      for (const query of ['limit=1', 'limit=1000', 'offset=0', 'since=1h', 'until=2025-01-01T12:00:00%2B00:00'])
        assert.equal((await send('GET', `/v1${path}?${query}`)).status, 200, query);
      for (const query of ['limit=0', 'limit=1001', 'limit=x', 'offset=-1', 'since=soon', 'until=soon'])
        assert.equal((await send('GET', `/v1${path}?${query}`)).status, 400, query);
    },
  ]),
  [
    'images default',
    'a page has 100 images unless asked otherwise',
    async (here) => {
      for (let made = 0; made < 101; made += 1) here.addImage();
      assert.equal((await list(here, '')).length, 100);
      assert.ok((await list(here, 'limit=1000')).length > 100);
      assert.equal((await list(here, 'limit=1000&offset=100000')).length, 0);
    },
  ],
  [
    'images tagged',
    'tagged lists images with tags, also without a value; 0 and absence list all',
    async (here) => {
      await tag(here, 'tagged');
      for (const query of ['tagged', 'tagged=1', 'tagged=']) {
        const found = await list(here, `limit=1000&${query}`);
        assert.ok(found.length > 0 && found.every(({ tag: name }) => name !== null), query);
      }
      for (const query of ['tagged=0', '']) {
        assert.ok(
          (await list(here, `limit=1000&${query}`)).some(({ tag: name }) => name === null),
          query,
        );
      }
    },
  ],
  [
    'images tag prefix',
    'tag filters by prefix and implies tagged; uuid filters by image',
    async (here) => {
      await tag(here, 'prefix/one:1');
      assert.deepEqual(
        (await list(here, 'tag=prefix/')).map(({ tag: name }) => name),
        ['prefix/one:1'],
      );
      assert.deepEqual(await list(here, 'tag=refix/'), []);
      assert.deepEqual(
        (await list(here, `uuid=${here.image}`)).map(({ uuid }) => uuid),
        [here.image],
      );
    },
  ],
  [
    'times',
    'since and until take 600s, 15m, 2h, 3d, 1w, a date, and a Unix timestamp',
    async (here) => {
      const now = Math.floor(Date.now() / 1_000);
      const past = ['600s', '15m', '2h', '3d', '1w', '2025-01-01T12:00:00%2B00:00', String(now - 3_600)];
      for (const time of past) {
        assert.ok((await list(here, `since=${time}`)).length > 0, time);
        assert.equal((await list(here, `until=${time}`)).length, 0, time);
      }
      assert.equal((await list(here, `since=${now + 3_600}`)).length, 0);
    },
  ],
];

const TAGS: readonly Statement[] = [
  [
    'untag one',
    'with tag only that tag is removed, with 204',
    async (here) => {
      const image = await root(here);
      for (const name of ['untag-a', 'untag-b'])
        await here.send('PATCH', `/v1/images/${image}/tag`, { body: { tag: name } });
      const { status } = await here.send('DELETE', `/v1/images/${image}/tag?tag=untag-a`);
      assert.equal(status, 204);
      assert.deepEqual(
        (await list(here, 'tag=untag-')).map(({ tag: name }) => name),
        ['untag-b'],
      );
    },
  ],
  [
    'untag all',
    'without tag all are removed; the image stays accessible by its UUID',
    async (here) => {
      const image = await root(here);
      for (const name of ['all-a', 'all-b'])
        await here.send('PATCH', `/v1/images/${image}/tag`, { body: { tag: name } });
      assert.ok((await here.send('DELETE', `/v1/images/${image}/tag`)).status < 300);
      assert.deepEqual(await list(here, 'tag=all-'), []);
      assert.equal((await here.send('GET', `/v1/inspect/${image}/`)).status, 200);
    },
  ],
  [
    'tag moves',
    'a tag is unique: set again, it moves, and the answer is the image with it',
    async (here) => {
      await tag(here, 'mover');
      const image = await root(here);
      const { json } = await here.send('PATCH', `/v1/images/${image}/tag`, { body: { tag: 'mover' } });
      assert.deepEqual([(json as Image).uuid, (json as Image).tag], [image, 'mover']);
      assert.deepEqual(
        (await list(here, 'tag=mover')).map(({ uuid }) => uuid),
        [image],
      );
    },
  ],
  [
    'tag pattern',
    'tags are words of letters, digits, _ and - that begin with a letter or digit, joined by : / .',
    async ({ send, image }) => {
      for (const name of ['busybox:latest', 'A/b.c-d_e:F', '1'])
        assert.equal((await send('PATCH', `/v1/images/${image}/tag`, { body: { tag: name } })).status, 200, name);
      for (const name of ['', 'a b', 'a::b', ':a', 'a/', 'ä', '_a', '-a'])
        assert.equal((await send('PATCH', `/v1/images/${image}/tag`, { body: { tag: name } })).status, 400, name);
    },
  ],
  [
    'tag of nothing',
    'tags of an unknown image are a 404, a body without a tag is a 400',
    async ({ send, image }) => {
      assert.equal((await send('PATCH', `/v1/images/${NOWHERE}/tag`, { body: { tag: 'x' } })).status, 404);
      assert.equal((await send('DELETE', `/v1/images/${NOWHERE}/tag`)).status, 404);
      assert.equal((await send('PATCH', `/v1/images/${image}/tag`, { body: {} })).status, 400);
    },
  ],
];

const IMPORTS: readonly Statement[] = [
  [
    'import',
    'an import answers with its operation, whose metadata has the registry, a masked password, the tag and 300 seconds',
    async (here) => {
      const url = 'docker://docker.io/busybox:latest';
      const credentials = { username: 'me', password: 'secret' };
      const { uuid, image } = await imported(here, { registry: { url, credentials }, tag: 'imported:1' });
      const { json } = await here.send('GET', `/v1/operations/${uuid}`);
      const { metadata, image_uuid: source, kind } = json as { metadata: object; image_uuid: unknown; kind: string };
      assert.deepEqual(
        [kind, source, metadata],
        [
          'image_import',
          null,
          { registry: { url, credentials: { username: 'me', password: '<MASKED>' } }, tag: 'imported:1', timeout: 300 },
        ],
      );
      assert.equal((await list(here, 'tag=imported:1'))[0]?.uuid, image);
    },
  ],
  [
    'import again',
    'an unchanged image that was imported before is the same UUID',
    async (here) => {
      const registry = { url: 'docker://docker.io/again:1' };
      const first = await imported(here, { registry, tag: null });
      assert.equal((await imported(here, { registry })).image, first.image);
    },
  ],
  [
    'import without a registry',
    'a body without a registry is a 400',
    async ({ send }) => {
      assert.equal((await send('POST', '/v1/images/import', { body: {} })).status, 400);
      assert.equal((await send('POST', '/v1/images/import', { body: { registry: {} } })).status, 400);
    },
  ],
];

const FILES: readonly Statement[] = [
  [
    'upload',
    'an upload answers with uuid, sha256 and size; the file is found by its sha256 in either case, and listed',
    async ({ send }) => {
      const { status, json } = await send('POST', '/v1/files', { body: 'hello' });
      const { uuid, sha256, size } = json as { uuid: string; sha256: string; size: number };
      assert.deepEqual([status, size], [201, 5]);
      for (const name of [sha256, sha256.toUpperCase()]) {
        assert.equal((await send('HEAD', `/v1/files/${name}`)).status, 200, name);
        assert.equal(((await send('GET', `/v1/files/${name}`)).json as { uuid: string }).uuid, uuid, name);
      }
      const { files } = (await send('GET', '/v1/files')).json as { files: { uuid: string }[] };
      assert.ok(files.some((file) => file.uuid === uuid));
      for (const method of ['HEAD', 'GET'])
        assert.equal((await send(method, `/v1/files/${'0'.repeat(64)}`)).status, 404, method);
    },
  ],
  [
    'upload again',
    'the same content is the same file, updated_at is of the last upload',
    async ({ send }) => {
      const upload = async (): Promise<{ sha256: string; uuid: string }> =>
        (await send('POST', '/v1/files', { body: 'twice' })).json as { sha256: string; uuid: string };
      const [first, second] = [await upload(), await upload()];
      assert.equal(first.uuid, second.uuid);
      const file = (await send('GET', `/v1/files/${first.sha256}`)).json as { created_at: string; updated_at: string };
      assert.ok(file.updated_at >= file.created_at);
    },
  ],
];

export const IMAGE_STATEMENTS: readonly Statement[] = [...LISTS, ...TAGS, ...IMPORTS, ...FILES];
