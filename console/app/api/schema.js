/** @import { JsonSchema } from './mcp.js' */

/**
 * One field of a schema; nested fields have a path such as `matches[].path`.
 * @typedef {{ readonly path: string, readonly type: string, readonly required: boolean, readonly schema: JsonSchema }} SchemaField
 */

const DEPTH_MAX = 6;

/**
 * @param {JsonSchema} schema
 * @returns {SchemaField[]}
 */
export function fieldsOf(schema) {
  return below(schema, '', 0);
}

/**
 * @param {JsonSchema} schema
 * @param {string} prefix
 * @param {number} depth
 * @returns {SchemaField[]}
 */
function below(schema, prefix, depth) {
  if (depth > DEPTH_MAX) return [];
  const required = new Set(schema.required ?? []);
  return Object.entries(schema.properties ?? {}).flatMap(([name, property]) => {
    const path = `${prefix}${name}`;
    const inner = property.type === 'array' ? (property.items ?? {}) : property;
    const suffix = property.type === 'array' ? '[].' : '.';
    return [
      { path, type: typeName(property), required: required.has(name), schema: property },
      ...below(inner, path + suffix, depth + 1),
    ];
  });
}

/**
 * @param {JsonSchema} schema
 * @returns {string}
 */
function typeName({ type, items, enum: values, additionalProperties, anyOf, properties }) {
  if (values) return values.map((value) => JSON.stringify(value)).join(' | ');
  if (anyOf) return anyOf.map(typeName).join(' | ');
  if (type === 'array') return `${items ? typeName(items) : 'any'}[]`;
  if (type === 'object' && !properties && typeof additionalProperties === 'object')
    return `{ name: ${typeName(additionalProperties)} }`;
  return type ?? 'any';
}
