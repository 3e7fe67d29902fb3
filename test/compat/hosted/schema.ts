import type { Document, Schema } from '../../support/openapi.ts';

/** Returns a schema without references and `allOf`, one level deep. */
export function resolved(document: Document, schema: Schema): Schema {
  const { $ref, allOf = [], ...own } = schema;
  const target = $ref === undefined ? undefined : document.components.schemas[$ref.split('/').at(-1) ?? ''];
  const parts = [...(target === undefined ? [] : [target]), ...allOf].map((part) => resolved(document, part));
  const all = [...parts, own];
  const properties = Object.assign({}, ...all.map((part) => part.properties)) as Schema['properties'];
  return {
    ...Object.assign({}, ...all),
    ...(all.some((part) => part.properties) && { properties }),
    ...(all.some((part) => part.required) && { required: all.flatMap(({ required = [] }) => required) }),
  } as Schema;
}

/** Returns a schema with everything that it refers to in place. */
export function inPlace(document: Document, schema: Schema): Schema {
  const { properties, items, additionalProperties: others, anyOf, oneOf, ...rest } = resolved(document, schema);
  const all = (schemas: readonly Schema[]): Schema[] => schemas.map((one) => inPlace(document, one));
  return {
    ...rest,
    ...(properties && {
      properties: Object.fromEntries(
        Object.entries(properties).map(([name, property]) => [name, inPlace(document, property)]),
      ),
    }),
    ...(items && { items: inPlace(document, items) }),
    ...(others !== undefined && {
      additionalProperties: typeof others === 'boolean' ? others : inPlace(document, others),
    }),
    // Alternatives of the hosted document overlap, so that a value may fit several.
    ...((oneOf ?? anyOf) && { anyOf: all(oneOf ?? anyOf ?? []) }),
  };
}
