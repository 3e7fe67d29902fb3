import type { z } from 'zod';
import type { OperationEvent } from '../event.ts';
import type { PushEvent } from '../image.ts';
import type { FileContent } from '../inspect.ts';
import type { Permission } from '../permissions.ts';
import type { SCHEMAS } from './schemas.ts';

/**
 * The schemas, by name. Rows refer to them by name, because loading zod and the schemas takes 75 ms, longer than a
 * request to the local engine: clients load only the table, servers the schemas too.
 */
type Schemas = typeof SCHEMAS;
export type SchemaName = keyof Schemas;

/** Value of the schema of that name. */
export type Value<Name extends SchemaName> = z.output<Schemas[Name]>;

/** Subjects of a row: path parameters as the first arguments of its method. */
export interface Subjects {
  /** UUID or `tag:NAME`. */
  readonly image: [image: string];
  readonly operation: [operation: string];
  readonly process: [operation: string, spid: number];
  readonly port: [operation: string, port: number];
  /** sha256 (hex) or UUID. */
  readonly upload: [id: string];
  readonly token: [token: string];
  readonly project: [project: string];
}

/** Number of path parameters of each subject. */
export const SUBJECT_PARTS: Readonly<Record<keyof Subjects, number>> = {
  image: 1,
  operation: 1,
  process: 2,
  port: 2,
  upload: 1,
  token: 1,
  project: 1,
};

/** Client types of answers that are not one JSON value. */
export interface Streams {
  readonly bytes: Promise<AsyncIterable<Uint8Array>>;
  readonly content: Promise<FileContent>;
  readonly push: AsyncIterable<PushEvent>;
  readonly events: AsyncIterable<OperationEvent>;
}

/** One operation of the HTTP API: its name, its input and its answer. */
export interface Row {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PATCH' | 'DELETE';
  /** Below `/v1`, in OpenAPI's notation. */
  readonly path: string;
  /** Subject that the path parameters identify, in their order. */
  readonly subject?: keyof Subjects;
  /** Name in the hosted description, or our own for an addition; absent where the hosted description has none. */
  readonly operationId?: string;
  readonly summary: string;
  /** Permissions of which one is required; empty for everyone who is authenticated. */
  readonly permissions: readonly Permission[];
  readonly query?: SchemaName;
  /** Parameters that only other clients send; the method does not have them. */
  readonly wireQuery?: SchemaName;
  /** Sent by our client with every request, because the hosted service needs it. */
  readonly sends?: Readonly<Record<string, boolean>>;
  /** Request header with an integer that the route reads. */
  readonly header?: string;
  /** JSON body. */
  readonly body?: SchemaName;
  /** Maximum size of the body in bytes; default `limits.jsonBodyBytesDefault`. */
  readonly bodyBytesMax?: number;
  /** Field of the body, a list that may be too long for one JSON value and can then be sent as NDJSON. */
  readonly lines?: {
    readonly field: string;
    readonly what: string;
    readonly linesMax: number;
    readonly bytesMax: number;
  };
  /** Body of bytes: one file, or several framed by `bulk.ts`. */
  readonly upload?: 'file' | 'files';
  /** JSON answer. */
  readonly answer?: SchemaName;
  /** Field of the answer that the method returns by itself. */
  readonly field?: string;
  /** Streamed answer; its route and its client are written by hand. */
  readonly stream?: keyof Streams;
  readonly mediaType?: string;
  readonly status: number;
  /** Schema of the whole answer on the wire, of which the method returns `answer`. */
  readonly wireAnswer?: SchemaName;
  /** Statuses of its faults, besides those that follow from its input, subject and permissions. */
  readonly refuses?: readonly number[];
  /** Description of the success in OpenAPI (default: `ok`). */
  readonly success?: string;
  /** Not part of the hosted service's contract. */
  readonly addition?: true;
  /** Sends an image's tag unchanged, because it matters which name is used. Other rows send its UUID. */
  readonly byName?: true;
  /** Kind of file that the query's `path` names, for servers that answer "not found" without saying what. */
  readonly missing?: 'file' | 'directory';
  /** The answer has no time limit. */
  readonly slow?: true;
}

/** Rows of one group by method name. */
export type Rows = Readonly<Record<string, Row>>;

type SubjectOf<R extends Row> = R extends { readonly subject: infer S extends keyof Subjects } ? Subjects[S] : [];

/** Optional argument if all its fields are optional. */
type Input<V> = Record<string, never> extends V ? [input?: V] : [input: V];

type InputOf<R extends Row> = R extends { readonly upload: string }
  ? [content: AsyncIterable<Uint8Array>]
  : R extends { readonly query: infer Name extends SchemaName }
    ? Input<Value<Name>>
    : R extends { readonly body: infer Name extends SchemaName }
      ? Input<Value<Name>>
      : [];

type AnswerOf<R extends Row> = R extends { readonly answer: infer Name extends SchemaName }
  ? R extends { readonly field: infer Field extends keyof Value<Name> }
    ? Value<Name>[Field]
    : Value<Name>
  : void;

type ReturnOf<R extends Row> = R extends { readonly stream: infer Kind extends keyof Streams }
  ? Streams[Kind]
  : Promise<AnswerOf<R>>;

/** Signature of a row's method: the subjects of the path, then the query or body if there is one, then a signal. */
export type Method<R extends Row> = (...args: [...SubjectOf<R>, ...InputOf<R>, signal?: AbortSignal]) => ReturnOf<R>;

/** Groups of rows as groups of methods. */
export type Methods<Groups extends Readonly<Record<string, Rows>>> = {
  readonly [Group in keyof Groups]: { readonly [Name in keyof Groups[Group]]: Method<Groups[Group][Name]> };
};
