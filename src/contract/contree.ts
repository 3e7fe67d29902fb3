import type { Api, CONTREE_API } from './api/index.ts';
import type { Methods } from './api/row.ts';

/**
 * The whole product as one interface, in groups: `contree.images.list()`, `contree.runs.start()`. Its methods are the
 * rows of `api/`. It has exactly three implementations: the engine, a cluster of engines, and a client that reaches either
 * over HTTP. The CLI, the MCP server and the REST routes use nothing else.
 *
 * An `image` is a UUID or `tag:NAME`; `path` is absolute inside the image. Every method throws only faults
 * (`errors.ts`). `signal` ends the wait, never the operation.
 */
export interface ConTree extends Methods<typeof CONTREE_API>, AsyncDisposable {}

/** `ConTree` plus the server's own groups: its process and its tokens. */
export interface ContreeServer extends Methods<Api>, AsyncDisposable {}
