import type { Api, CONTREE_API } from './api/index.ts';
import type { Methods } from './api/row.ts';

/**
 * The whole product as one interface, in groups: `contree.images.list()`, `contree.runs.start()`. Its methods are the rows
 * of `api/`. It has exactly two implementations: the engine, and a client that reaches an engine over HTTP; the CLI, the
 * MCP server and the REST routes know nothing else.
 *
 * An `image` is a UUID or `tag:NAME`; `path` is absolute inside the image. Every method throws faults (`errors.ts`) only.
 * `signal` ends the waiting, never the operation waited for.
 */
export interface ConTree extends Methods<typeof CONTREE_API>, AsyncDisposable {}

/** `ConTree` with what is about the server itself: its process and its tokens. */
export interface ContreeServer extends Methods<Api>, AsyncDisposable {}
