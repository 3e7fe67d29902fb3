import { stringify } from 'yaml';
import { z } from 'zod';
import type { Param, ParamSchema } from './params.ts';
import type { ResponseDoc, Route } from './route.ts';
import { ROUTES } from './routes/index.ts';
import { SCHEMAS } from './schemas.ts';

type Json = Readonly<Record<string, unknown>>;

const TARGET = {
  target: 'openapi-3.0',
  io: 'input',
  unrepresentable: 'any',
  /** What every integer of JavaScript is bound by says nothing about ours. */
  override: ({ jsonSchema }: { readonly jsonSchema: { minimum?: number; maximum?: number } }) => {
    if (jsonSchema.minimum === Number.MIN_SAFE_INTEGER) delete jsonSchema.minimum;
    if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum;
  },
} as const;

function reference(name: string): Json {
  return { $ref: `#/components/schemas/${name}` };
}

/** All named schemas; where one contains another, it refers to it. */
function components(): Record<string, Json> {
  const registry = z.registry<{ id: string }>();
  for (const [id, schema] of Object.entries(SCHEMAS)) registry.add(schema, { id });
  const { schemas } = z.toJSONSchema(registry, { ...TARGET, uri: (id) => `#/components/schemas/${id}` });
  return Object.fromEntries(
    Object.entries(schemas).map(([name, { $id: _id, $schema: _schema, ...schema }]) => [name, schema]),
  );
}

function schemaOf(schema: string | z.ZodType): Json {
  if (typeof schema === 'string') {
    const list = /^(\w+)List$/u.exec(schema)?.[1];
    const isArray = list !== undefined && !(schema in SCHEMAS);
    return isArray ? { type: 'array', items: reference(list) } : reference(schema);
  }
  const { $schema: _, ...inline } = z.toJSONSchema(schema, TARGET) as Record<string, unknown>;
  return inline;
}

function parameter(name: string, place: 'path' | 'query' | 'header', schema: ParamSchema, required: boolean): Json {
  return { name, in: place, ...(required && { required }), schema };
}

function parametersOf(route: Route): Json[] {
  const names = [...route.path.matchAll(/\{(\w+)\}/gu)].map(([, name = '']) => name);
  const path = names.map((name) => {
    const schema =
      name === 'spid' ? { type: 'integer' } : name === 'sha256' ? { type: 'string' } : reference('UUIDSchema');
    return parameter(name, 'path', schema, true);
  });
  const query = Object.entries(route.query ?? {}).map(([name, param]: [string, Param<unknown>]) =>
    parameter(name, 'query', param.schema, param.required ?? false),
  );
  const header =
    route.operationId === 'getOperationEvents'
      ? [parameter('Last-Event-Id', 'header', { type: 'integer' }, false)]
      : [];
  return [...path, ...query, ...header];
}

function requestBody(route: Route): Json | undefined {
  if (route.rawBody !== undefined) {
    return { required: true, content: { [route.rawBody]: { schema: { type: 'string', format: 'binary' } } } };
  }
  if (route.body === undefined) return undefined;
  return {
    required: true,
    content: {
      'application/json': { schema: schemaOf(route.body.name ?? route.body.schema) },
      ...(route.body.lines && { 'application/x-ndjson': { schema: { type: 'string' } } }),
    },
  };
}

function success({ description, schema, mediaType }: ResponseDoc): Json {
  if (schema === undefined && mediaType === undefined) return { description };
  const body = schema === undefined ? { type: 'string', format: 'binary' } : schemaOf(schema);
  return { description, content: { [mediaType ?? 'application/json']: { schema: body } } };
}

function operation(route: Route): Json {
  const parameters = parametersOf(route);
  const body = requestBody(route);
  const failure = { description: 'a fault', content: { 'application/json': { schema: reference('Error') } } };
  return {
    ...(route.operationId !== undefined && { operationId: route.operationId }),
    summary: route.summary,
    ...(parameters.length > 0 && { parameters }),
    ...(body && { requestBody: body }),
    responses: { [route.response.status]: success(route.response), default: failure },
  };
}

/** The OpenAPI document, made from the routes and from the schemas that validate their bodies. */
export function openApiDocument(version: string): Json {
  const paths: Record<string, Record<string, Json>> = {};
  for (const route of ROUTES) {
    (paths[route.path] ??= {})[route.method.toLowerCase()] = operation(route);
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
