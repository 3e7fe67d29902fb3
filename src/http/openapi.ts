import { stringify } from 'yaml';
import { z } from 'zod';
import type { Row, SchemaName, Subjects } from '../contract/api/row.ts';
import { COMPONENTS, SCHEMAS } from '../contract/api/schemas.ts';
import { present } from '../std/present.ts';
import { parametersIn } from './api/parse.ts';
import { ROUTES } from './api/routes.ts';

type Json = Readonly<Record<string, unknown>>;

const PLAIN = { target: 'openapi-3.0', io: 'input', unrepresentable: 'any' } as const;

/** Fields that the document leaves out, because generators of Python clients stop at a reserved word. */
const UNNAMEABLE: readonly string[] = ['class', 'from'];

const TARGET = {
  ...PLAIN,
  override: ({ jsonSchema }: { readonly jsonSchema: z.core.JSONSchema.BaseSchema }) => {
    // The bounds that zod gives every JavaScript integer are not limits of ours.
    if (jsonSchema.minimum === Number.MIN_SAFE_INTEGER) delete jsonSchema.minimum;
    if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum;
    for (const name of UNNAMEABLE) delete jsonSchema.properties?.[name];
    jsonSchema.required &&= jsonSchema.required.filter((name) => !UNNAMEABLE.includes(name));
  },
} as const;

function reference(name: string): Json {
  return { $ref: `#/components/schemas/${name}` };
}

/** All named schemas; nested ones are references. */
function components(): Record<string, Json> {
  const registry = z.registry<{ id: string }>();
  for (const [id, schema] of Object.entries(COMPONENTS)) registry.add(schema, { id });
  const { schemas } = z.toJSONSchema(registry, { ...TARGET, uri: (id) => `#/components/schemas/${id}` });
  return Object.fromEntries(
    Object.entries(schemas).map(([name, { $id: _id, $schema: _schema, ...schema }]) => [name, schema]),
  );
}

/** Returns a reference to a schema that the document names, a list of them, or the schema itself. */
function schemaOf(schema: z.ZodType): Json {
  const name = Object.entries(COMPONENTS).find(([, component]) => component === schema)?.[0];
  if (name !== undefined) return reference(name);
  if (schema instanceof z.ZodArray) return { type: 'array', items: schemaOf(schema.element as z.ZodType) };
  const { $schema: _, ...inline } = z.toJSONSchema(schema, TARGET) as Record<string, unknown>;
  return inline;
}

const UUID = reference('UUIDSchema');
const INTEGER: Json = { type: 'integer' };

/** Descriptions of path parameters. */
const SUBJECTS: Readonly<Record<keyof Subjects, readonly Json[]>> = {
  image: [UUID],
  operation: [UUID],
  process: [UUID, INTEGER],
  port: [UUID, INTEGER],
  upload: [{ type: 'string' }],
  token: [UUID],
  project: [{ type: 'string' }],
};

interface Parameter {
  readonly name: string;
  readonly in: 'path' | 'query' | 'header';
  readonly required?: boolean;
  readonly schema: Json;
}

function queryParameters(name: SchemaName | undefined): Parameter[] {
  if (name === undefined) return [];
  const { properties = {}, required = [] } = z.toJSONSchema(SCHEMAS[name], PLAIN);
  return Object.entries(properties).map(([field, schema]) =>
    present({ name: field, in: 'query', required: required.includes(field) || undefined, schema: schema as Json }),
  );
}

function parametersOf({ path, subject, query, wireQuery, header }: Row): Parameter[] {
  const schemas = subject === undefined ? [] : SUBJECTS[subject];
  return [
    ...parametersIn(path).map(
      (name, index) => ({ name, in: 'path', required: true, schema: schemas[index] ?? {} }) as const,
    ),
    ...queryParameters(query),
    ...queryParameters(wireQuery),
    ...(header === undefined ? [] : [{ name: header, in: 'header', schema: INTEGER } as const]),
  ];
}

const BYTES: Json = { type: 'string', format: 'binary' };

function requestBody({ upload, body, lines }: Row): Json | undefined {
  if (upload !== undefined) return { required: true, content: { 'application/octet-stream': { schema: BYTES } } };
  if (body === undefined) return undefined;
  return {
    required: true,
    content: {
      'application/json': { schema: schemaOf(SCHEMAS[body]) },
      ...(lines && { 'application/x-ndjson': { schema: { type: 'string' } } }),
    },
  };
}

function success(row: Row): Json {
  const { success: description = 'ok', answer: own, wireAnswer: answer = own, mediaType } = row;
  if (answer === undefined && mediaType === undefined) return { description };
  const schema = answer === undefined ? BYTES : schemaOf(SCHEMAS[answer]);
  const text = row.wireQuery === 'TextQuery' && { 'text/plain': { schema: { type: 'string' } } };
  return { description, content: { [mediaType ?? 'application/json']: { schema }, ...text } };
}

const REFUSALS: Readonly<Record<string, string>> = {
  400: 'a parameter or the body is invalid',
  401: 'the token is missing',
  403: 'the token is unknown, or lacks the permission',
  404: 'what the request names does not exist',
  409: 'the state of what the request names does not allow it',
  410: 'it has ended',
  422: 'the path has another type of file',
  425: 'it is not ready yet; retry after `Retry-After`',
  default: 'a fault',
};

/** Returns the answers of a row that are errors. */
function refusals({ query, wireQuery, header, body, upload, subject, refuses = [] }: Row): Json {
  // The bytes of one file can be any; several have their lengths before them.
  const parsed = query ?? wireQuery ?? header ?? body ?? (upload === 'files' || undefined);
  const invalid = parsed !== undefined || subject === 'process' ? [400] : [];
  const missing = subject === undefined ? [] : [404];
  const content = { 'application/json': { schema: reference('Error') } };
  return Object.fromEntries(
    [...invalid, 401, 403, ...missing, ...refuses, 'default'].map((status) => [
      status,
      { description: REFUSALS[status], content },
    ]),
  );
}

function operation(row: Row): Json {
  const parameters = parametersOf(row);
  const body = requestBody(row);
  return {
    ...present({ operationId: row.operationId }),
    summary: row.summary,
    ...(parameters.length > 0 && { parameters }),
    ...present({ requestBody: body }),
    responses: { [row.status]: success(row), ...refusals(row) },
  };
}

/** Returns the OpenAPI document, generated from the rows of the API and the schemas that validate requests. */
export function openApiDocument(version: string): Json {
  const paths: Record<string, Record<string, Json>> = {};
  for (const { row } of ROUTES) {
    (paths[row.path] ??= {})[row.method.toLowerCase()] = operation(row);
  }
  return {
    openapi: '3.0.3',
    info: { title: 'ConTree', version },
    servers: [{ url: '{baseUrl}/v1', variables: { baseUrl: { default: 'http://127.0.0.1:9452' } } }],
    security: [{ bearer: [] }],
    paths,
    components: { securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } }, schemas: components() },
  };
}

export function openApiYaml(version: string): string {
  return stringify(openApiDocument(version), { aliasDuplicateObjects: false });
}
