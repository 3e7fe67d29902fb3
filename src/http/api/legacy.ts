import type { SchemaName } from '../../contract/api/row.ts';

type Fields = Record<string, unknown>;

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Fields that clients with generated models send empty. */
function withoutTruncated(value: unknown): unknown {
  if (!isFields(value)) return value;
  const { truncated: _, ...rest } = value;
  return rest;
}

function withPlainInput(body: Fields): Fields {
  return 'stdin' in body ? { ...body, stdin: withoutTruncated(body['stdin']) } : body;
}

/** Conversions of bodies from earlier clients to today's schemas. */
const LEGACY: Readonly<Partial<Record<SchemaName, (body: Fields) => unknown>>> = {
  /** The first version of the API took the registry as a bare reference. */
  ImageImportRequest: (body) =>
    typeof body['registry'] === 'string' ? { ...body, registry: { url: body['registry'] } } : body,
  InstanceSpawnRequest: ({ result: _result, ...body }) => withPlainInput(body),
  ExecSpec: withPlainInput,
  ClosableStreamRepr: withoutTruncated,
};

/** Returns a body as today's clients would send it. */
export function modernized(schema: SchemaName | undefined, body: unknown): unknown {
  const modernize = schema && LEGACY[schema];
  return modernize !== undefined && isFields(body) ? modernize(body) : body;
}
