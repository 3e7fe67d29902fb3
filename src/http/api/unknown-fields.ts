import type { z } from 'zod';

/** Maximum number of fields named in one answer. */
const FIELDS_SHOWN = 5;

type JsonSchema = z.core.JSONSchema.JSONSchema;
type Shape = JsonSchema | boolean | undefined;

/**
 * Returns text that names the fields, at any depth, that a value's JSON Schema does not know; undefined if there are
 * none.
 */
export function unknownFields(value: unknown, schema: JsonSchema): string | undefined {
  const names = unknownIn(value, schema, '').take(FIELDS_SHOWN).toArray();
  return names.length === 0 ? undefined : `unknown field ${names.map((name) => JSON.stringify(name)).join(', ')}`;
}

function* unknownIn(value: unknown, schema: Shape, path: string): Generator<string> {
  if (typeof value !== 'object' || value === null) return;
  const shape = alternative(schema, Array.isArray(value) ? 'array' : 'object');
  if (shape === undefined) return;
  if (Array.isArray(value)) {
    for (const [index, entry] of value.entries()) yield* unknownIn(entry, shape.items as Shape, `${path}[${index}]`);
    return;
  }
  const { properties = {}, additionalProperties: others } = shape;
  for (const [key, field] of Object.entries(value)) {
    const known = Object.hasOwn(properties, key) ? properties[key] : others;
    if (known) yield* unknownIn(field, known, join(path, key));
    else yield join(path, key);
  }
}

/** Returns the schema itself, or of alternatives the one that fits the value best. */
function alternative(schema: Shape, type: 'array' | 'object'): JsonSchema | undefined {
  if (typeof schema !== 'object') return undefined;
  if (schema.type === type) return schema;
  return schema.anyOf?.map((option) => alternative(option, type)).find((option) => option !== undefined);
}

function join(path: string, key: string): string {
  const shown = key.length > 100 ? `${key.slice(0, 100)}…` : key;
  return path === '' ? shown : `${path}.${shown}`;
}
