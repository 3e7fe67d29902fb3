import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { EMPTY_IMAGE_CONFIG } from '../../src/contract/image.ts';
import type { Importer } from '../../src/images/import/importer.ts';
import { ROUTES } from '../../src/http/api/routes.ts';
import { PUSHER } from '../conformance/contree.ts';
import { addRoot, finished, rootLayer } from '../engine/bench.ts';
import type { Answer } from '../support/servers/http-server.ts';
import { serveBench, type ServedEngine, type TokenClient } from '../support/servers/served-engine.ts';

/** Everything of one tenant that has a name another tenant could try. */
interface Ids {
  readonly image: string;
  /** A child of `image` with a tag. */
  readonly child: string;
  readonly tag: string;
  /** A finished run, and one whose main process waits for input. */
  readonly finished: string;
  readonly running: string;
  readonly importing: string;
  /** An open instance. */
  readonly open: string;
  readonly file: string;
  readonly sha256: string;
  readonly state: string;
}

type Call = readonly [method: string, path: string, body?: object];

const importer: Importer = {
  fromRegistry: async (_registry, { store }) => {
    const layer = await rootLayer(store, randomUUID());
    return { layers: [layer.digest], config: EMPTY_IMAGE_CONFIG };
  },
  fromArchive: async (_request, { store }) => {
    const layer = await rootLayer(store, randomUUID());
    return { layers: [layer.digest], config: EMPTY_IMAGE_CONFIG };
  },
};

/**
 * Calls of each route that name subjects. Another tenant must get 404 for each of them, the owner a success;
 * destructive ones come last in their list. `own`: the route names nothing and is checked below. `admin`: no tenant may
 * use it.
 */
const CALLS: Readonly<Record<string, ((ids: Ids) => readonly Call[]) | 'own' | 'admin' | 'anyone'>> = {
  'GET /images': 'own',
  'GET /images/{imageUUID}/lineage': ({ image, child, tag }) =>
    [image, child, `tag:${tag}`].map((id) => ['GET', `/images/${encodeURIComponent(id)}/lineage`]),
  'GET /images/{imageUUID}/export': ({ child }) => [['GET', `/images/${child}/export`]],
  'DELETE /images/{imageUUID}': ({ child }) => [['DELETE', `/images/${child}?cascade=1`]],
  'DELETE /images/{imageUUID}/tag': ({ child, tag }) => [
    ['DELETE', `/images/${child}/tag`],
    ['PATCH', `/images/${child}/tag`, { tag }],
    ['DELETE', `/images/${child}/tag?tag=${tag}`],
    ['PATCH', `/images/${child}/tag`, { tag }],
  ],
  'PATCH /images/{imageUUID}/tag': ({ image, tag }) => [['PATCH', `/images/${image}/tag`, { tag: `${tag}-2` }]],
  'POST /images/import': 'own',
  'POST /images/{imageUUID}/push': ({ image, tag }) =>
    [image, `tag:${tag}`].map((id) => [
      'POST',
      `/images/${encodeURIComponent(id)}/push`,
      { registry: { url: 'registry.example/x' } },
    ]),
  'POST /builds': ({ file, state }) => [
    ['POST', '/builds', { context: { file }, dockerfile_text: 'FROM scratch' }],
    ['POST', '/builds', { context: { directory_state: state }, dockerfile_text: 'FROM scratch' }],
  ],
  'POST /images/import-archive': ({ file }) => [['POST', '/images/import-archive', { file }]],
  'GET /files': ({ file, sha256 }) => [
    ['GET', `/files?sha256=${sha256}`],
    ['GET', `/files?uuid=${file}`],
  ],
  'HEAD /files': ({ file, sha256 }) => [
    ['HEAD', `/files?sha256=${sha256}`],
    ['HEAD', `/files?uuid=${file}`],
  ],
  'GET /files/{sha256}': ({ file, sha256 }) => [file, sha256].map((id) => ['GET', `/files/${id}`]),
  'HEAD /files/{sha256}': ({ file, sha256 }) => [file, sha256].map((id) => ['HEAD', `/files/${id}`]),
  'POST /files': 'own',
  'POST /files/bulk': 'own',
  'POST /directory-states': 'own',
  'POST /instances': ({ image, tag, file, state }) => [
    ['POST', '/instances', { command: 'true', image }],
    ['POST', '/instances', { command: 'true', image: `tag:${tag}` }],
    ['POST', '/instances', { command: 'true', image: '{own}', files: { '/x': { uuid: file } } }],
    ['POST', '/instances', { command: 'true', image: '{own}', directory_states: [state] }],
  ],
  'POST /instances/open': ({ image }) => [['POST', '/instances/open', { image, disposable: true }]],
  'GET /instances': 'own',
  'GET /instances/{operationId}': ({ open }) => [['GET', `/instances/${open}`]],
  'POST /instances/{operationId}/ports': ({ open }) => [['POST', `/instances/${open}/ports`, { port: 80 }]],
  'POST /instances/{operationId}/ports/{port}/link': ({ open }) => [['POST', `/instances/${open}/ports/80/link`]],
  'DELETE /instances/{operationId}/ports/{port}': ({ open }) => [['DELETE', `/instances/${open}/ports/80`]],
  'POST /instances/{operationId}/snapshot': ({ open }) => [['POST', `/instances/${open}/snapshot`, {}]],
  'POST /instances/{operationId}/close': ({ open }) => [['POST', `/instances/${open}/close`, { keep: false }]],
  'GET /operations': 'own',
  'GET /operations/{operationId}': ({ finished: done, running, importing }) =>
    [done, running, importing].map((id) => ['GET', `/operations/${id}?inflight=1`]),
  'DELETE /operations/{operationId}': ({ running }) => [['DELETE', `/operations/${running}`]],
  'GET /operations/{operationId}/events': ({ finished: done, running }) => [
    ['GET', `/operations/${done}/events?follow=1`],
    ['GET', `/operations/${running}/events`],
  ],
  'POST /operations/{operationId}/subprocesses': ({ running }) => [
    ['POST', `/operations/${running}/subprocesses`, { command: 'true' }],
  ],
  'GET /operations/{operationId}/subprocesses/{spid}': ({ finished: done, running }) =>
    [done, running].map((id) => ['GET', `/operations/${id}/subprocesses/1`]),
  'POST /operations/{operationId}/subprocesses/{spid}/stdin': ({ running }) => [
    ['POST', `/operations/${running}/subprocesses/1/stdin`, { value: 'hello', close: false }],
  ],
  'POST /operations/{operationId}/subprocesses/{spid}/resize': ({ running }) => [
    ['POST', `/operations/${running}/subprocesses/1/resize`, { columns: 80, rows: 25 }],
  ],
  'DELETE /operations/{operationId}/subprocesses/{spid}': ({ running }) => [
    ['DELETE', `/operations/${running}/subprocesses/2`],
  ],
  'GET /inspect': 'anyone',
  'GET /inspect/{image_uuid}': 'anyone',
  'GET /inspect/': ({ tag }) => [['GET', `/inspect/?tag=${tag}`]],
  'GET /inspect/{image_uuid}/': ({ image, child }) => [image, child].map((id) => ['GET', `/inspect/${id}/`]),
  ...Object.fromEntries(
    ['GET', 'HEAD'].flatMap((method) => [
      [
        `${method} /inspect/{image_uuid}/download`,
        ({ image }: Ids): Call[] => [[method, `/inspect/${image}/download?path=/etc/passwd`]],
      ],
      [
        `${method} /inspect/{image_uuid}/archive`,
        ({ image }: Ids): Call[] => [[method, `/inspect/${image}/archive?path=/etc`]],
      ],
    ]),
  ),
  'GET /inspect/{image_uuid}/list': ({ image }) => [['GET', `/inspect/${image}/list?path=/`]],
  'GET /inspect/{image_uuid}/stat': ({ image }) => [['GET', `/inspect/${image}/stat?path=/etc`]],
  'GET /inspect/{image_uuid}/grep': ({ image }) => [['GET', `/inspect/${image}/grep?pattern=root`]],
  'GET /inspect/{image_uuid}/diff': ({ image, child }) => [
    ['GET', `/inspect/${image}/diff?to=${child}`],
    ['GET', `/inspect/{own}/diff?to=${child}`],
  ],
  'GET /usage': 'own',
  'GET /projects': 'admin',
  'PATCH /projects/{project}': 'admin',
  'GET /whoami': 'own',
  'GET /doctor': 'anyone',
  'POST /gc': 'admin',
  'GET /engine': 'admin',
  'POST /engine/stop': 'admin',
  'GET /tokens': 'admin',
  'POST /tokens': 'admin',
  'DELETE /tokens/{uuid}': 'admin',
};

/** Calls that remove what later ones need; the owner makes them last. */
const LAST = [
  'POST /instances/{operationId}/close',
  'DELETE /operations/{operationId}/subprocesses/{spid}',
  'DELETE /operations/{operationId}',
  'DELETE /images/{imageUUID}',
];

interface Tenant extends TokenClient {
  readonly project: string;
  readonly ids: Ids;
}

function uuidOf(answer: Answer): string {
  assert.ok(answer.status < 300, answer.text);
  return (answer.json as { uuid: string }).uuid;
}

/** Makes a tenant with one of everything, all created over HTTP except the root image. */
async function settle({ bench }: ServedEngine, client: TokenClient, project: string): Promise<Tenant> {
  const store = bench.store.forProject(project);
  const { uuid: image } = await addRoot(store);
  const contree = bench.engine.forTenant({ project });
  const { send } = client;
  const content = randomBytes(16).toString('hex');
  const upload = (await send('POST', '/v1/files', { body: content })).json as { uuid: string; sha256: string };
  const entries = [{ path: '/app/x', sha256: upload.sha256, mode: 0o644 }];
  const offer = (await send('POST', '/v1/directory-states', { body: { entries } })).json as { state: { id: string } };
  const spawn = async (body: object): Promise<string> => uuidOf(await send('POST', '/v1/instances', { body }));
  const done = await spawn({ command: `echo ${content} > /secret`, shell: true, image });
  const { result_image_uuid: child } = await finished(contree, done);
  assert.ok(child);
  const tag = `${project}-tag`;
  await send('PATCH', `/v1/images/${child}/tag`, { body: { tag } });
  const running = await spawn({ command: 'cat', image, stdin: { value: '', close: false } });
  const importing = uuidOf(await send('POST', '/v1/images/import', { body: { registry: { url: 'alpine' } } }));
  await finished(contree, importing);
  const open = uuidOf(await send('POST', '/v1/instances/open', { body: { image } }));
  for await (const { type } of contree.operations.events(running, { follow: true })) if (type === 'spawn') break;
  const second = { command: 'cat', stdin: { value: '', close: false } };
  assert.deepEqual((await send('POST', `/v1/operations/${running}/subprocesses`, { body: second })).json, { spid: 2 });
  const ids = { image, child, tag, finished: done, running, importing, open };
  return { ...client, project, ids: { ...ids, file: upload.uuid, sha256: upload.sha256, state: offer.state.id } };
}

/** Ids of the same kinds that do not exist. */
function nowhere(): Ids {
  const uuid = (): string => randomUUID();
  const images = {
    image: uuid(),
    child: uuid(),
    tag: 'no-such-tag',
    file: uuid(),
    sha256: randomBytes(32).toString('hex'),
  };
  return { ...images, finished: uuid(), running: uuid(), importing: uuid(), open: uuid(), state: uuid() };
}

/** Returns an answer with all ids replaced, so that two answers can be compared. */
function blurred({ status, text, headers }: Answer, ids: Ids): unknown {
  let body = text;
  for (const [name, id] of Object.entries(ids)) body = body.replaceAll(id, `<${name}>`);
  return { status, body, type: headers['content-type'], length: headers['content-length'] === undefined };
}

function text(call: Call): string {
  return JSON.stringify(call);
}

async function make(client: Tenant, [method, path, body]: Call): Promise<Answer> {
  const filled = (text: string): string => text.replaceAll('{own}', client.ids.image);
  const sent = body === undefined ? {} : { body: JSON.parse(filled(JSON.stringify(body))) as object };
  return client.send(method, `/v1${filled(path)}`, sent);
}

const PAIRS = [
  ['alpha', 'beta'],
  ['default', 'beta'],
  ['alpha', 'default'],
] as const;

test('attack 45: every route is known to this test', () => {
  const routes = ROUTES.map(({ row }) => `${row.method} ${row.path}`).toSorted();
  assert.deepEqual(Object.keys(CALLS).toSorted(), routes);
});

for (const [victim, stranger] of PAIRS) {
  test(`attack 45: ids of project ${victim} are nothing in project ${stranger}, on every route`, async () => {
    await using served = await serveBench({ importer, pusher: PUSHER });
    const a = await settle(served, await served.client({ project: victim }), victim);
    const b = await settle(served, await served.client({ project: stranger }), stranger);
    const none = nowhere();
    const tried: [string, Call][] = [];
    for (const [route, calls] of Object.entries(CALLS)) {
      if (typeof calls !== 'function') continue;
      for (const [index, call] of calls(a.ids).entries()) {
        const answer = await make(b, call);
        assert.equal(answer.status, 404, `${text(call)} → ${answer.status} ${answer.text}`);
        const absent = await make(b, calls(none)[index] ?? call);
        assert.deepEqual(
          blurred(answer, a.ids),
          blurred(absent, none),
          `${text(call)} says no more than for an id of nobody`,
        );
        tried.push([route, call]);
      }
    }
    // The same calls are valid: their owner succeeds with each.
    const last = ([route]: [string, Call]): number => LAST.indexOf(route);
    for (const [, call] of tried.toSorted((one, other) => last(one) - last(other))) {
      const { status, text: said } = await make(a, call);
      assert.ok(status < 400, `${text(call)} → ${status} ${said}`);
    }
  });
}

test('attack 45: lists, uploads, states and whoami show the own project only', async () => {
  await using served = await serveBench({ importer, pusher: PUSHER });
  const a = await settle(served, await served.client({ project: 'alpha' }), 'alpha');
  const b = await served.client({ project: 'beta' });
  const get = async (path: string): Promise<unknown> => (await b.send('GET', `/v1${path}`)).json;
  assert.deepEqual(await get('/images'), { images: [] });
  assert.deepEqual(await get(`/images?uuid=${a.ids.image}`), { images: [] });
  assert.deepEqual(await get(`/images?tag=alpha`), { images: [] });
  assert.deepEqual(await get('/files'), { files: [] });
  assert.deepEqual(await get('/operations'), []);
  assert.deepEqual(await get('/instances?all=1'), []);
  const me = (await get('/whoami')) as { operations_stat: object; token_uuid: string; project: string };
  assert.deepEqual([me.operations_stat, me.token_uuid, me.project], [{}, b.uuid, 'beta']);

  const offered = { entries: [{ path: '/x', sha256: a.ids.sha256, mode: 0o644 }] };
  const offer = await b.send('POST', '/v1/directory-states', { body: offered });
  assert.deepEqual(offer.json, { missing: [a.ids.sha256] }, 'what another project has is missing here');
  const content = 'the same in both';
  const mine = (await a.send('POST', '/v1/files', { body: content })).json as { uuid: string; sha256: string };
  assert.equal((await b.send('HEAD', `/v1/files/${mine.sha256}`)).status, 404);
  const theirs = (await b.send('POST', '/v1/files', { body: content })).json as { uuid: string; sha256: string };
  assert.equal(theirs.sha256, mine.sha256);
  assert.notEqual(theirs.uuid, mine.uuid, 'an upload does not tell that it was there already');
  const entries = [{ path: '/x', sha256: mine.sha256, mode: 0o644 }];
  const [one, other] = await Promise.all(
    [a, b].map(async (client) => {
      const { json } = await client.send('POST', '/v1/directory-states', { body: { entries } });
      return (json as { state: { id: string } }).state.id;
    }),
  );
  assert.notEqual(one, other, 'an id does not tell what others have');

  const typo = await b.send('GET', '/v1/inspect/?tag=alpha-tga');
  assert.doesNotMatch(typo.text, /alpha-tag"|closest/u, 'nor do suggestions');
  const tagged = await addRoot(served.bench.store.forProject('beta'));
  await b.send('PATCH', `/v1/images/${tagged.uuid}/tag`, { body: { tag: a.ids.tag } });
  assert.equal((await a.send('GET', `/v1/inspect/?tag=${a.ids.tag}`)).headers.location, `${a.ids.child}/`);
  assert.equal((await b.send('GET', `/v1/inspect/?tag=${a.ids.tag}`)).headers.location, `${tagged.uuid}/`);
});

test('attack 45: tenants cannot reach what is about the whole server', async () => {
  await using served = await serveBench();
  const tenant = await served.client({ project: 'beta' });
  for (const [route, kind] of Object.entries(CALLS)) {
    if (kind !== 'admin') continue;
    const [method = '', path = ''] = route.split(' ');
    const answer = await tenant.send(
      method,
      `/v1${path.replace('{uuid}', randomUUID())}`,
      method === 'POST' ? { body: {} } : {},
    );
    assert.deepEqual([answer.status, (answer.json as { code: string }).code], [403, 'PERMISSION_MISSING'], route);
  }
  assert.equal((await tenant.send('GET', '/metrics')).status, 403);
  assert.equal((await tenant.send('GET', '/v1/doctor')).status, 200);
  assert.equal((await tenant.send('GET', '/v1/doctor?verify=1')).status, 403, 'it names images of everybody');
});

test('the Project header chooses for administrators and is ignored from everybody else', async () => {
  await using served = await serveBench();
  const image = await addRoot(served.bench.store.forProject('alpha'));
  const path = `/v1/inspect/${image.uuid}/`;
  const tenant = await served.client({ project: 'beta' });
  const admin = await served.client({ project: 'beta', permissions: ['list', 'admin'] });
  const chosen = { headers: { Project: 'alpha' } };
  assert.equal((await served.owner.send('GET', path)).status, 404, 'the owner works in the default project');
  assert.equal((await served.owner.send('GET', path, chosen)).status, 200);
  assert.equal((await admin.send('GET', path, chosen)).status, 200);
  assert.equal((await tenant.send('GET', path, chosen)).status, 404);
  assert.equal((await tenant.send('GET', '/v1/whoami', { headers: { Project: 'No Such/Name' } })).status, 200);
  const invalid = await served.owner.send('GET', '/v1/images', { headers: { Project: 'No Such/Name' } });
  assert.deepEqual([invalid.status, (invalid.json as { code: string }).code], [400, 'PROJECT_INVALID']);
  const made = await served.owner.send('POST', '/v1/tokens', { ...chosen, body: {} });
  assert.equal((made.json as { project: string }).project, 'alpha', 'a token works where its maker did');
});

test('a token on the socket binds its bearer there too', async () => {
  await using served = await serveBench();
  const { token } = await served.client({ project: 'beta', permissions: ['list'] });
  const headers = { Authorization: `Bearer ${token}`, Project: 'alpha' };
  const me = (await served.owner.send('GET', '/v1/whoami', { headers })).json as { project: string };
  assert.equal(me.project, 'beta');
  assert.equal((await served.owner.send('POST', '/v1/tokens', { headers, body: {} })).status, 403);
  assert.equal((await served.owner.send('GET', '/v1/images', { headers: { Authorization: 'Bearer x' } })).status, 403);
});
