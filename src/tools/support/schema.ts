import { z } from 'zod';
import { assert } from '../../std/assert.ts';

/**
 * Marks a field that is accepted or returned but hidden from the tool's published schema, because every published field
 * costs tokens.
 */
export function hiddenFromClients<Schema extends z.ZodType>(schema: Schema): Schema {
  return schema.meta({ hidden: true });
}

/**
 * Returns the JSON Schema of a tool's input or output without parts that cost tokens and are useless to a model:
 * `$schema`, lengths, lower bounds 0 and 1, defaults 0 and false, very large upper bounds, and in outputs (which we
 * produce ourselves) all bounds, enums, `required` and empty lists of properties. It uses only features that all clients
 * support: no `$ref`, no type arrays. Validation itself uses the full schema.
 */
export function jsonSchemaOf(schema: z.ZodObject, io: 'input' | 'output'): Record<string, unknown> {
  const { $schema: _, ...json } = z.toJSONSchema(schema, { io });
  return lean(json, io) as Record<string, unknown>;
}

function lean(value: unknown, io: 'input' | 'output'): unknown {
  if (Array.isArray(value)) return value.map((item) => lean(item, io));
  if (typeof value !== 'object' || value === null) return value;
  if ('anyOf' in value && Array.isArray(value.anyOf)) return lean(oneForm(value as { anyOf: unknown[] }), io);
  if ('properties' in value && typeof value.properties === 'object' && value.properties !== null) {
    const { properties, ...rest } = value;
    const told = Object.entries(properties).filter(([, property]) => !(property as { hidden?: boolean }).hidden);
    const leaner = told.map(([name, property]) => [name, lean(property, io)]);
    // Some clients need the properties of an input, though there are none.
    if (io === 'output' && leaner.length === 0) return lean(rest, io);
    return { ...(lean(rest, io) as object), properties: Object.fromEntries(leaner) };
  }
  const kept = Object.entries(value).filter(([key, item]) => !isNoise(key, item, io));
  return Object.fromEntries(kept.map(([key, item]) => [key, lean(withoutNull(key, item), io)]));
}

/** Returns a union as the one form of it that is not hidden. */
function oneForm({ anyOf, ...rest }: { readonly anyOf: readonly unknown[] }): object {
  const told = anyOf.filter((form) => !(form as { hidden?: boolean }).hidden);
  assert(told.length === 1, 'not all clients support unions');
  return { ...(told[0] as object), ...rest };
}

/** Returns the type that clients are told where null is accepted too: not all support lists of types. */
function withoutNull(key: string, value: unknown): unknown {
  return key === 'type' && Array.isArray(value) ? value.find((type) => type !== 'null') : value;
}

/** Largest upper bound in a published schema; larger ones only stop nonsense. */
const UPPER_BOUND_TOLD_MAX = 100_000;

function isNoise(key: string, value: unknown, io: 'input' | 'output'): boolean {
  switch (key) {
    case 'propertyNames':
    case 'minLength':
    case 'maxLength':
    case 'minItems':
    case 'maxItems':
      return true;
    case 'additionalProperties':
      return value === false || isEmpty(value);
    case 'minimum':
      return (
        io === 'output' || Number(value) === 0 || Number(value) === 1 || Math.abs(Number(value)) > UPPER_BOUND_TOLD_MAX
      );
    case 'maximum':
      return io === 'output' || Number(value) > UPPER_BOUND_TOLD_MAX;
    case 'default':
      return value === false || value === 0;
    case 'enum':
    case 'required':
      return io === 'output';
    default:
      return false;
  }
}

function isEmpty(value: unknown): boolean {
  return typeof value === 'object' && value !== null && Object.keys(value).length === 0;
}
