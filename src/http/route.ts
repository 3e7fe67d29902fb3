import type { z } from 'zod';
import type { ConTree } from '../contract/contree.ts';
import type { Permission, Principal } from './auth.ts';
import type { LinesOptions, ReadOptions } from './body.ts';
import type { Log } from './log.ts';
import type { Params, QueryOf } from './params.ts';
import type { Reply } from './reply.ts';
import type { TokenStore } from './tokens.ts';

/** The engine process as its own API shows it. */
export interface EngineControl {
  readonly version: string;
  readonly startedAt: Date;
  /** Whether an operation of any project waits or runs. */
  readonly busy: () => Promise<boolean>;
  /** Lets the process end; what runs is finished or marked as the engine sees fit. */
  readonly stop: () => void;
}

/** What the routes work with. Parts that a process does not have are absent, and their routes answer 404. */
export interface Services {
  readonly log: Log;
  readonly tokens?: TokenStore;
  readonly engine?: EngineControl;
  /** Aborts when the server closes; streams that have no end of their own end then. */
  readonly closing?: AbortSignal;
}

/** One request, parsed. */
export interface Call<Query, Body> extends Services {
  /** As the principal sees it. */
  readonly contree: ConTree;
  readonly principal: Principal;
  /** Path parameters by name. */
  readonly path: Readonly<Record<string, string>>;
  readonly query: Query;
  readonly body: Body;
  readonly request: Request;
  /** Aborts when the client goes away. */
  readonly signal: AbortSignal;
}

/** What a successful answer holds: the name of a schema, a schema of its own, or a media type. */
export interface ResponseDoc {
  readonly status: number;
  readonly description: string;
  readonly schema?: string | z.ZodType;
  readonly mediaType?: string;
}

/** One operation of the API: what it is called, takes and answers, and how. */
export interface Route<Set extends Params = Params, Body extends z.ZodType = z.ZodType> {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PATCH' | 'DELETE';
  /** In OpenAPI's notation, below `/v1`. */
  readonly path: string;
  readonly operationId?: string;
  readonly summary: string;
  /** One of these is needed; none means anyone who is let in. */
  readonly permissions: readonly Permission[];
  readonly query?: Set;
  /** JSON body; `name` is that of its schema in the description. */
  readonly body?: ReadOptions & {
    readonly schema: Body;
    readonly name?: string;
    /** The one field of the body, a list, that may also come as NDJSON: for lists too long to be one value. */
    readonly lines?: LinesOptions;
  };
  /** Media type of a body that the route reads itself. */
  readonly rawBody?: string;
  readonly response: ResponseDoc;
  readonly handle: (call: Call<QueryOf<Set>, z.infer<Body>>) => Promise<Reply>;
}

/** Of a route without parameters. */
type NoParams = Readonly<Record<string, never>>;

/** Ties a handler to the parameters and the body of its route. */
export function route<Set extends Params = NoParams, Body extends z.ZodType = z.ZodUndefined>(
  definition: Route<Set, Body>,
): Route {
  // The dispatcher reads query and body with the definition's own schemas before it calls the handler.
  return definition as unknown as Route;
}

/** A path parameter; every name that a handler asks for stands in its route's path. */
export function pathParameter(call: { readonly path: Readonly<Record<string, string>> }, name: string): string {
  return call.path[name] ?? '';
}
