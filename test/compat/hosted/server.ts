import assert from 'node:assert/strict';
import type { Statement } from './here.ts';
import { operations, type Document } from '../../support/openapi.ts';

const NOWHERE = '6f9619ff-8b86-4d01-b42d-00cf4fc964ff';
const DIGEST = '0'.repeat(64);

/** Bodies that pass the checks before the one for what the path names. */
const BODIES: Readonly<Record<string, object | undefined>> = {
  'PATCH /images/{imageUUID}/tag': { tag: 'x' },
  'POST /images/import': { registry: { url: 'docker://docker.io/x:1' } },
  'POST /files': {},
  'POST /instances': { command: 'true', image: NOWHERE, disposable: true },
  'POST /operations/{operationId}/subprocesses': { command: 'true' },
  'POST /operations/{operationId}/subprocesses/{spid}/stdin': { value: '' },
};

const QUERIES: Readonly<Record<string, string | undefined>> = {
  '/inspect/': '?tag=none',
  '/inspect/{image_uuid}/download': '?path=/',
  '/inspect/{image_uuid}/archive': '?path=/',
  '/inspect/{image_uuid}/list': '?path=/',
  '/inspect/{image_uuid}/grep': '?pattern=x',
};

/** Returns statements about every operation of the document: what it answers without a token, a permission, a subject. */
export function serverStatements(document: Document): Statement[] {
  const all = operations(document)
    .filter(({ path }) => !/^\/inspect(?:\/\{imageUUID\})?$/u.test(path))
    .map(({ path, method, operation }) => {
      const known = `${method.toUpperCase()} ${path}`;
      const named = path
        .replace('{spid}', '1')
        .replace('{sha256}', DIGEST)
        .replaceAll(/\{\w+\}/gu, NOWHERE);
      const body = BODIES[known];
      return {
        known,
        method: method.toUpperCase(),
        path: `/v1${named}${QUERIES[path] ?? ''}`,
        options: body === undefined ? {} : { body },
        statuses: Object.keys(operation.responses),
      };
    });
  return [
    [
      'unauthorized',
      'without a token every operation is a 401',
      async ({ bare }) => {
        for (const { method, path, options, known } of all)
          assert.equal((await bare(method, path, options)).status, 401, known);
      },
    ],
    [
      'unknown token',
      'an unknown token is a 401',
      async ({ bare }) => {
        const headers = { Authorization: 'Bearer unknown' };
        assert.equal((await bare('GET', '/v1/images', { headers })).status, 401);
      },
    ],
    [
      'forbidden',
      'a token without the permission gets a 403',
      async (here) => {
        const send = await here.as({ permissions: ['metrics'] });
        for (const { method, path, options, known, statuses } of all) {
          if (statuses.includes('403')) assert.equal((await send(method, path, options)).status, 403, known);
        }
      },
    ],
    [
      'unknown subjects',
      'what does not exist is a 404',
      async ({ send }) => {
        for (const { method, path, options, known, statuses } of all) {
          if (!statuses.includes('404') || ['POST /files', 'POST /images/import'].includes(known)) continue;
          assert.equal((await send(method, path, options)).status, 404, known);
        }
      },
    ],
    [
      'whoami',
      'whoami has the token, its expiry, every permission, and limits',
      async (here) => {
        const send = await here.as({ permissions: ['spawn', 'list'] });
        const { json } = await send('GET', '/v1/whoami');
        const {
          permissions,
          limits,
          token_expiration: expiry,
        } = json as {
          permissions: object;
          limits: object;
          token_expiration: unknown;
        };
        assert.partialDeepStrictEqual(permissions, {
          import: false,
          spawn: true,
          spawn_disposable: false,
          list: true,
          cancel: false,
          set_image_tag: false,
        });
        for (const name of ['instance_max_timeout', 'instance_max_concurrency', 'images_import_max_timeout'])
          assert.ok(name in limits, name);
        assert.ok('images_import_max_concurrency' in limits);
        assert.equal(expiry, null);
        const expiring = await here.as({ expires_in: 3_600 });
        const { token_expiration: at } = (await expiring('GET', '/v1/whoami')).json as { token_expiration: number };
        assert.ok(at > Date.now() / 1_000);
      },
    ],
    [
      'project header',
      'a request with a token and no Project header is a 401',
      async ({ send }) => assert.equal((await send('GET', '/v1/images')).status, 401),
    ],
  ];
}
