import { fieldsOf } from '../../api/schema.js';
import { h } from '../../kit/dom.js';
import { table } from '../../kit/parts.js';
import { shown } from '../../kit/text.js';

/** @import { JsonSchema } from '../../api/mcp.js' */

/** @param {JsonSchema} schema */
function bounds({ default: usually, minimum, maximum }) {
  const parts = [];
  if (usually !== undefined) parts.push(`default ${JSON.stringify(usually)}`);
  if (minimum !== undefined) parts.push(`at least ${minimum}`);
  if (maximum !== undefined) parts.push(`at most ${maximum}`);
  return parts.join(', ');
}

/**
 * @param {JsonSchema} schema
 * @param {string} label name of the table
 * @param {string} nothing text for a schema without fields
 */
export function schemaTable(schema, label, nothing) {
  const fields = fieldsOf(schema);
  if (fields.length === 0) return h('p', { class: 'muted' }, nothing);
  const rows = fields.map(({ path, type, required, schema: property }) =>
    h(
      'tr',
      null,
      h('th', { scope: 'row' }, h('code', null, path), required && h('span', { class: 'required' }, ' required')),
      h('td', null, h('code', { class: 'type' }, type)),
      h(
        'td',
        null,
        property.description !== undefined && shown(property.description),
        bounds(property) !== '' && h('span', { class: 'muted' }, ` ${bounds(property)}`),
      ),
    ),
  );
  return table(label, [['Name'], ['Type'], ['Description']], rows);
}
