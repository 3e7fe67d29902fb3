import type { CONTREE_API } from '../../contract/api/index.ts';
import type { Row, SchemaName, Subjects, Value } from '../../contract/api/row.ts';
import type { WIRE_ONLY } from '../../contract/api/wire-only.ts';
import type { ConTree, ContreeServer } from '../../contract/contree.ts';
import type { Principal } from '../auth.ts';
import type { Log } from '../log.ts';
import type { HttpReply } from '../reply.ts';
import type { InstancePages } from '../pages/instance-pages.ts';
import type { TokenStore } from '../tokens.ts';

/** Engine process as its own API shows it. */
export interface EngineControl {
  readonly version: string;
  readonly startedAt: Date;
  /** Reports whether an operation of any project is queued or running. */
  readonly busy: () => Promise<boolean>;
  /** Asks the process to stop; the engine decides whether running operations finish or are marked as failed. */
  readonly stop: () => void;
}

/** Services that routes use. Routes of a missing service answer 404. */
export interface Services {
  readonly log: Log;
  readonly tokens?: TokenStore;
  readonly engine?: EngineControl;
  readonly projects?: ContreeServer['projects'];
  /** Pages of instances; absent where there is no listener for browsers. */
  readonly pages?: InstancePages;
  /** Aborts when the server closes, to end streams that would not end by themselves. */
  readonly closing?: AbortSignal;
}

type ValueOf<R extends Row, Field extends 'query' | 'wireQuery' | 'body'> =
  R extends Readonly<Record<Field, infer Name extends SchemaName>> ? Value<Name> : Record<string, never>;

type SubjectOf<R extends Row> = R extends { readonly subject: infer S extends keyof Subjects } ? Subjects[S] : [];

/** One request, parsed according to its row. */
export interface Call<R extends Row = Row> extends Services {
  /** ConTree of the principal. */
  readonly contree: ConTree;
  readonly principal: Principal;
  /** Subject of the path. */
  readonly subject: SubjectOf<R>;
  readonly query: ValueOf<R, 'query'>;
  readonly wireQuery: ValueOf<R, 'wireQuery'>;
  readonly body: ValueOf<R, 'body'>;
  readonly request: Request;
  /** Aborts when the client disconnects. */
  readonly signal: AbortSignal;
}

export type RouteHandler<R extends Row = Row> = (call: Call<R>) => Promise<HttpReply>;

/** Handlers of routes that do more than call the method of their row. */
export type Handlers = {
  readonly [Group in keyof typeof CONTREE_API]?: {
    readonly [Name in keyof (typeof CONTREE_API)[Group]]?: RouteHandler<(typeof CONTREE_API)[Group][Name] & Row>;
  };
} & { readonly wireOnly: { readonly [Name in keyof typeof WIRE_ONLY]: RouteHandler<(typeof WIRE_ONLY)[Name]> } };
