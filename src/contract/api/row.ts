import type { z } from 'zod';
import type { OperationEvent } from '../event.ts';
import type { PushEvent } from '../image.ts';
import type { FileContent } from '../inspect.ts';
import type { Permission } from '../permissions.ts';
import type { SCHEMAS } from './schemas.ts';

/**
 * The schemas that rows name. Rows name them instead of holding them, because loading zod and the schemas takes longer
 * (75 ms measured) than a request to the local engine: clients load the table, servers the schemas too.
 */
type Schemas = typeof SCHEMAS;
export type SchemaName = keyof Schemas;

/** A value of the schema of that name. */
export type Value<Name extends SchemaName> = z.output<Schemas[Name]>;

/** Subjects of a path, which are the first arguments of a method. */
export interface Subjects {
  /** UUID or `tag:NAME`. */
  readonly image: [image: string];
  readonly operation: [operation: string];
  readonly process: [operation: string, spid: number];
  /** sha256 (hex) or UUID. */
  readonly upload: [id: string];
  readonly token: [token: string];
}

/** Number of path parts of each subject. */
export const SUBJECT_PARTS: Readonly<Record<keyof Subjects, number>> = {
  image: 1,
  operation: 1,
  process: 2,
  upload: 1,
  token: 1,
};

/** Client types of answers that are not one JSON value. */
export interface Streams {
  readonly bytes: Promise<AsyncIterable<Uint8Array>>;
  readonly content: Promise<FileContent>;
  readonly push: AsyncIterable<PushEvent>;
  readonly events: AsyncIterable<OperationEvent>;
}

/** One operation of the HTTP API: what it is called, takes and answers. */
export interface Row {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PATCH' | 'DELETE';
  /** Below `/v1`, in OpenAPI's notation. */
  readonly path: string;
  /** Subject of the path parameters, in their order. */
  readonly subject?: keyof Subjects;
  /** The hosted service's, or ours for an addition; absent where the hosted description has none. */
  readonly operationId?: string;
  readonly summary: string;
  /** One of these is needed; none means everyone who is let in. */
  readonly permissions: readonly Permission[];
  readonly query?: SchemaName;
  /** Parameters that are not part of the method: other clients of the wire send them. */
  readonly wireQuery?: SchemaName;
  /** Sent by our client with every request: what the hosted service needs to be told. */
  readonly sends?: Readonly<Record<string, boolean>>;
  /** A request header that the route reads, with an integer. */
  readonly header?: string;
  /** JSON body. */
  readonly body?: SchemaName;
  /** Bytes of a body at most; default `limits.jsonBodyBytesDefault`. */
  readonly bodyBytesMax?: number;
  /** The field of the body, a list, that may also come as NDJSON: for lists too long to be one value. */
  readonly lines?: {
    readonly field: string;
    readonly what: string;
    readonly linesMax: number;
    readonly bytesMax: number;
  };
  /** A body of bytes: one file, or several framed by `bulk.ts`. */
  readonly upload?: 'file' | 'files';
  /** JSON answer. */
  readonly answer?: SchemaName;
  /** The field of the answer that the method returns alone. */
  readonly field?: string;
  /** An answer that is read while it comes; its route and its client are written by hand. */
  readonly stream?: keyof Streams;
  readonly mediaType?: string;
  readonly status: number;
  /** Schema of the whole answer on the wire; `answer` is the part that a method returns. */
  readonly wireAnswer?: SchemaName;
  /** Description of the success in OpenAPI (default: `ok`). */
  readonly success?: string;
  /** Not part of the hosted service's contract. */
  readonly addition?: true;
  /** Takes an image by its tag as it is: by which name it is asked for makes a difference. Others are sent its UUID. */
  readonly byName?: true;
  /** Kind of the query's `path`, for servers that answer "not found" without naming what is missing. */
  readonly missing?: 'file' | 'directory';
  /** The answer may take as long as it takes. */
  readonly slow?: true;
}

/** The rows of one group by method name. */
export type Rows = Readonly<Record<string, Row>>;

type SubjectOf<R extends Row> = R extends { readonly subject: infer S extends keyof Subjects } ? Subjects[S] : [];

/** The argument is optional where every field of it is. */
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

/** A row as a method: what the path names, then the query or body if there is one, then a signal. */
export type Method<R extends Row> = (...args: [...SubjectOf<R>, ...InputOf<R>, signal?: AbortSignal]) => ReturnOf<R>;

/** Groups of rows as groups of methods. */
export type Methods<Groups extends Readonly<Record<string, Rows>>> = {
  readonly [Group in keyof Groups]: { readonly [Name in keyof Groups[Group]]: Method<Groups[Group][Name]> };
};
