import type { CONTREE_API } from '../../contract/api/index.ts';
import type { Row, SchemaName, Subjects, Value } from '../../contract/api/row.ts';
import type { WIRE_ONLY } from '../../contract/api/wire-only.ts';
import type { ConTree } from '../../contract/contree.ts';
import type { Principal } from '../auth.ts';
import type { Log } from '../log.ts';
import type { HttpReply } from '../reply.ts';
import type { TokenStore } from '../tokens.ts';

/** The engine process as its own API shows it. */
export interface EngineControl {
  readonly version: string;
  readonly startedAt: Date;
  /** Reports whether an operation of any project is queued or running. */
  readonly busy: () => Promise<boolean>;
  /** Lets the process end; what runs is finished or marked as the engine sees fit. */
  readonly stop: () => void;
}

/** Services of the routes. Parts that a process does not have are absent, and their routes answer 404. */
export interface Services {
  readonly log: Log;
  readonly tokens?: TokenStore;
  readonly engine?: EngineControl;
  /** Aborts when the server closes; streams that have no end of their own end then. */
  readonly closing?: AbortSignal;
}

type ValueOf<R extends Row, Field extends 'query' | 'wireQuery' | 'body'> =
  R extends Readonly<Record<Field, infer Name extends SchemaName>> ? Value<Name> : Record<string, never>;

type SubjectOf<R extends Row> = R extends { readonly subject: infer S extends keyof Subjects } ? Subjects[S] : [];

/** One request, parsed by its row. */
export interface Call<R extends Row = Row> extends Services {
  /** ConTree as the principal sees it. */
  readonly contree: ConTree;
  readonly principal: Principal;
  /** Subject of the path. */
  readonly subject: SubjectOf<R>;
  readonly query: ValueOf<R, 'query'>;
  readonly wireQuery: ValueOf<R, 'wireQuery'>;
  readonly body: ValueOf<R, 'body'>;
  readonly request: Request;
  /** Aborts when the client goes away. */
  readonly signal: AbortSignal;
}

export type RouteHandler<R extends Row = Row> = (call: Call<R>) => Promise<HttpReply>;

/** Routes that do more than call the method of their row. */
export type Handlers = {
  readonly [Group in keyof typeof CONTREE_API]?: {
    readonly [Name in keyof (typeof CONTREE_API)[Group]]?: RouteHandler<(typeof CONTREE_API)[Group][Name] & Row>;
  };
} & { readonly wireOnly: { readonly [Name in keyof typeof WIRE_ONLY]: RouteHandler<(typeof WIRE_ONLY)[Name]> } };
