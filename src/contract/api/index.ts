import { FILES, UPLOADS } from './files.ts';
import { IMAGES, TAGS } from './images.ts';
import { OPERATIONS, PROCESSES, RUNS } from './operations.ts';
import { ENGINE, SYSTEM, TOKENS } from './server.ts';
import type { Rows } from './row.ts';

/** What an engine does, one row per operation: `API.images.list` is `contree.images.list()` and `GET /v1/images`. */
export const CONTREE_API = {
  images: IMAGES,
  tags: TAGS,
  uploads: UPLOADS,
  runs: RUNS,
  operations: OPERATIONS,
  processes: PROCESSES,
  files: FILES,
  system: SYSTEM,
} as const satisfies Readonly<Record<string, Rows>>;

/** The HTTP API: what an engine does, and what the server around it does. */
export const API = { ...CONTREE_API, engine: ENGINE, tokens: TOKENS } as const;
export type Api = typeof API;
