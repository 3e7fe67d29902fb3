import { fault } from '../../contract/errors.ts';
import { authorize, whoAmI } from '../auth.ts';
import { flag, present } from '../params.ts';
import { empty, json } from '../reply.ts';
import { pathParameter, route, type EngineControl, type Route } from '../route.ts';
import { GcRequest, StopRequest } from '../schemas.ts';
import { TokenRequest, type TokenStore } from '../tokens.ts';

const STORE: readonly Route[] = [
  route({
    method: 'GET',
    path: '/whoami',
    operationId: 'whoAmI',
    summary: 'Permissions and limits of the token',
    permissions: [],
    response: { status: 200, description: 'ok', schema: 'WhoAmIResponse' },
    handle: async ({ contree, principal, signal }) => json(whoAmI(await contree.whoami(signal), principal)),
  }),
  route({
    method: 'POST',
    path: '/gc',
    operationId: 'collectGarbage',
    summary: 'Free what nothing in any project uses; says what still uses space',
    permissions: ['admin'],
    body: { schema: GcRequest, name: 'GcRequest' },
    response: { status: 200, description: 'ok', schema: 'GcReport' },
    handle: async ({ contree, body, signal }) => {
      const { older_than_days: olderThanDays, max_bytes: maxBytes, dry_run: dryRun } = body;
      return json(await contree.gc(present({ olderThanDays, maxBytes, dryRun }), signal));
    },
  }),
  route({
    method: 'GET',
    path: '/doctor',
    operationId: 'doctor',
    summary: 'What this host offers and lacks; `verify` also hashes the whole store again',
    permissions: ['list'],
    query: { verify: flag() },
    response: { status: 200, description: 'ok', schema: 'DoctorReport' },
    handle: async ({ contree, principal, query, signal }) => {
      // It names images of every project.
      if (query.verify) authorize(principal, ['admin']);
      return json(await contree.doctor(present(query), signal));
    },
  }),
];

function engineOf(engine: EngineControl | undefined): EngineControl {
  if (engine === undefined) throw fault('ROUTE_NOT_FOUND', { route: 'engine' });
  return engine;
}

const ENGINE: readonly Route[] = [
  route({
    method: 'GET',
    path: '/engine',
    operationId: 'getEngine',
    summary: 'The engine process',
    permissions: ['metrics', 'admin'],
    response: { status: 200, description: 'ok', schema: 'EngineStatus' },
    handle: async ({ engine }) => {
      const { version, startedAt, busy } = engineOf(engine);
      return json({ version, pid: process.pid, started_at: startedAt.toISOString(), busy: await busy() });
    },
  }),
  route({
    method: 'POST',
    path: '/engine/stop',
    operationId: 'stopEngine',
    summary: 'End the engine process; with `only_idle` only when no operation waits or runs',
    permissions: ['admin'],
    body: { schema: StopRequest },
    response: { status: 202, description: 'it ends' },
    handle: async ({ engine, body }) => {
      const { stop, busy } = engineOf(engine);
      if (body.only_idle && (await busy())) throw fault('ENGINE_BUSY', {});
      stop();
      return empty(202);
    },
  }),
];

function tokensOf(tokens: TokenStore | undefined): TokenStore {
  if (tokens === undefined) throw fault('ROUTE_NOT_FOUND', { route: 'tokens' });
  return tokens;
}

const TOKENS: readonly Route[] = [
  route({
    method: 'GET',
    path: '/tokens',
    operationId: 'listTokens',
    summary: 'List tokens, without their secrets',
    permissions: ['admin'],
    response: { status: 200, description: 'ok', schema: 'TokenListResponse' },
    handle: async ({ tokens }) => json({ tokens: await tokensOf(tokens).list() }),
  }),
  route({
    method: 'POST',
    path: '/tokens',
    operationId: 'createToken',
    summary: 'Create a token; the answer is the only place where its secret is shown',
    permissions: ['admin'],
    body: { schema: TokenRequest, name: 'TokenRequest' },
    response: { status: 201, description: 'ok', schema: 'CreatedToken' },
    handle: async ({ tokens, principal, body }) =>
      json(await tokensOf(tokens).create({ ...body, project: body.project ?? principal.project }), 201),
  }),
  route({
    method: 'DELETE',
    path: '/tokens/{uuid}',
    operationId: 'revokeToken',
    summary: 'Revoke a token',
    permissions: ['admin'],
    response: { status: 204, description: 'revoked' },
    handle: async (call) => {
      const uuid = pathParameter(call, 'uuid');
      if (await tokensOf(call.tokens).revoke(uuid)) return empty(204);
      throw fault('TOKEN_NOT_FOUND', { token: JSON.stringify(uuid.slice(0, 100)) });
    },
  }),
];

export const ENGINE_ROUTES: readonly Route[] = [...STORE, ...ENGINE, ...TOKENS];
