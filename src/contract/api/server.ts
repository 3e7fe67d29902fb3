import type { Rows } from './row.ts';

/** Caller's permissions, the store and the host. */
export const SYSTEM = {
  /** Returns permissions and limits of the token. */
  whoami: {
    method: 'GET',
    path: '/whoami',
    operationId: 'whoAmI',
    summary: 'Permissions and limits of the token',
    permissions: [],
    answer: 'WhoAmIResponse',
    status: 200,
  },
  /** Returns the resources that the project uses, and its quota. */
  usage: {
    method: 'GET',
    path: '/usage',
    operationId: 'getUsage',
    summary: 'Resources that the project uses, and its quota',
    permissions: ['list'],
    answer: 'ProjectUsage',
    status: 200,
    addition: true,
  },
  /** Removes what no project uses any more. */
  gc: {
    method: 'POST',
    path: '/gc',
    operationId: 'collectGarbage',
    summary: 'Free what nothing in any project uses; says what still uses space',
    permissions: ['admin'],
    body: 'GcRequest',
    answer: 'GcReport',
    status: 200,
    addition: true,
    slow: true,
  },
  /** Reports what this host provides and lacks; `verify` also hashes the whole store. */
  doctor: {
    method: 'GET',
    path: '/doctor',
    operationId: 'doctor',
    summary: 'What this host offers and lacks; `verify` also hashes the whole store again',
    permissions: ['list'],
    query: 'DoctorQuery',
    answer: 'DoctorReport',
    status: 200,
    addition: true,
    slow: true,
  },
} as const satisfies Rows;

/** The engine process. */
export const ENGINE = {
  status: {
    method: 'GET',
    path: '/engine',
    operationId: 'getEngine',
    summary: 'The engine process',
    permissions: ['metrics', 'admin'],
    answer: 'EngineStatus',
    status: 200,
    addition: true,
  },
  /** Stops the engine. Faults: ENGINE_BUSY with `only_idle` while operations are queued or running. */
  stop: {
    method: 'POST',
    path: '/engine/stop',
    operationId: 'stopEngine',
    summary: 'End the engine process; with `only_idle` only when no operation waits or runs',
    permissions: ['admin'],
    body: 'StopRequest',
    status: 202,
    success: 'it ends',
    addition: true,
  },
} as const satisfies Rows;

/** Operations on the tokens of a server. */
export const TOKENS = {
  list: {
    method: 'GET',
    path: '/tokens',
    operationId: 'listTokens',
    summary: 'List tokens, without their secrets',
    permissions: ['admin'],
    answer: 'TokenListResponse',
    field: 'tokens',
    status: 200,
    addition: true,
  },
  /** Creates a token; only this answer contains its secret. */
  create: {
    method: 'POST',
    path: '/tokens',
    operationId: 'createToken',
    summary: 'Create a token; the answer is the only place where its secret is shown',
    permissions: ['admin'],
    body: 'TokenRequest',
    answer: 'CreatedToken',
    status: 201,
    addition: true,
  },
  revoke: {
    method: 'DELETE',
    path: '/tokens/{uuid}',
    subject: 'token',
    operationId: 'revokeToken',
    summary: 'Revoke a token',
    permissions: ['admin'],
    status: 204,
    success: 'revoked',
    addition: true,
  },
} as const satisfies Rows;

/** Projects of a server, for administrators. */
export const PROJECTS = {
  list: {
    method: 'GET',
    path: '/projects',
    operationId: 'listProjects',
    summary: 'Resources that each project uses, and its quota',
    permissions: ['admin'],
    answer: 'ProjectListResponse',
    field: 'projects',
    status: 200,
    addition: true,
  },
  /** Changes the quota of a project; null in a field is the default again. Faults: PROJECT_INVALID. */
  change: {
    method: 'PATCH',
    path: '/projects/{project}',
    subject: 'project',
    operationId: 'changeProject',
    summary: 'Change the quota of a project; fields that are null have the default again',
    permissions: ['admin'],
    body: 'QuotaChange',
    answer: 'ProjectUsage',
    status: 200,
    addition: true,
  },
} as const satisfies Rows;
