import { FILES, UPLOADS } from './files.ts';
import { IMAGES, TAGS } from './images.ts';
import { INSTANCES, PAGES } from './instances.ts';
import { OPERATIONS, PROCESSES, RUNS } from './operations.ts';
import { ENGINE, PROJECTS, SYSTEM, TOKENS } from './server.ts';

/** Operations of an engine, one row each: `API.images.list` is `contree.images.list()` and `GET /v1/images`. */
export const CONTREE_API: {
  readonly images: typeof IMAGES;
  readonly tags: typeof TAGS;
  readonly files: typeof FILES;
  readonly uploads: typeof UPLOADS;
  readonly runs: typeof RUNS;
  readonly instances: typeof INSTANCES;
  readonly operations: typeof OPERATIONS;
  readonly processes: typeof PROCESSES;
  readonly system: typeof SYSTEM;
} = {
  images: IMAGES,
  tags: TAGS,
  files: FILES,
  uploads: UPLOADS,
  runs: RUNS,
  instances: INSTANCES,
  operations: OPERATIONS,
  processes: PROCESSES,
  system: SYSTEM,
};

/** The HTTP API: the operations of an engine and of the server around it. */
export const API: typeof CONTREE_API & {
  readonly engine: typeof ENGINE;
  readonly tokens: typeof TOKENS;
  readonly projects: typeof PROJECTS;
  readonly pages: typeof PAGES;
} = {
  ...CONTREE_API,
  engine: ENGINE,
  tokens: TOKENS,
  projects: PROJECTS,
  pages: PAGES,
};
export type Api = typeof API;
