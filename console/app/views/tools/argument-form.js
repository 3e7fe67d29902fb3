import { listImages, listOperations } from '../../api/v1.js';
import { fill, h } from '../../kit/dom.js';
import { button, field, nextId, select } from '../../kit/parts.js';
import { shown } from '../../kit/text.js';
import { linesOf, pairsOf } from '../../kit/values.js';

/**
 * @import { JsonSchema } from '../../api/mcp.js'
 * @import { Scope } from '../../kit/scope.js'
 * @typedef {{ element: HTMLElement, read: () => unknown, write: (value: unknown) => void }} Control `read` returns undefined for an omitted argument
 */

/** Names of arguments with several lines of text. */
const LONG = new Set(['command', 'stdin', 'content', 'code', 'text']);
const IMAGES = new Set(['image', 'image_uuid', 'from', 'to']);

/**
 * Returns a form for the arguments that a schema describes, with JSON input for anything a form cannot express.
 * @param {JsonSchema} schema
 * @param {Scope} scope
 * @returns {Promise<{ element: HTMLElement, toggle: HTMLElement, read: () => Record<string, unknown> }>}
 */
export async function argumentForm(schema, scope) {
  const properties = Object.entries(schema.properties ?? {});
  const required = new Set(schema.required ?? []);
  const lists = await suggestions(
    properties.map(([name]) => name),
    scope,
  );
  const controls = properties.map(([name, property]) => ({ name, control: controlFor(name, property, lists) }));
  const fields = controls.map(({ name, control }) => {
    const property = schema.properties?.[name] ?? {};
    const hint = property.description === undefined ? undefined : shown(property.description);
    return field(name, control.element, { required: required.has(name), ...(hint && { hint }) });
  });
  const [first, rest] = [
    fields.filter((_, index) => required.has(controls[index]?.name ?? '')),
    fields.filter((_, index) => !required.has(controls[index]?.name ?? '')),
  ];
  const optional = h(
    'details',
    { open: first.length === 0 },
    h('summary', null, `Optional arguments (${rest.length})`),
    h('div', { class: 'field-grid' }, rest),
  );
  const byField = h(
    'div',
    { class: 'fields' },
    first,
    rest.length > 0 && optional,
    properties.length === 0 && h('p', { class: 'muted' }, 'This tool takes no arguments.'),
  );
  const json = h('textarea', { rows: 8, spellcheck: 'false', class: 'mono' });
  const asJson = h('div', { hidden: true }, field('Arguments as JSON', json));
  const readFields = () =>
    Object.fromEntries(
      controls.flatMap(({ name, control }) => {
        const value = control.read();
        return value === undefined ? [] : [[name, value]];
      }),
    );
  const readJson = () => objectOf(json.value);
  const toggle = button(
    'Edit as JSON',
    () => {
      if (asJson.hidden) json.value = JSON.stringify(readFields(), undefined, 2);
      else for (const { name, control } of controls) control.write(readJson()[name]);
      asJson.hidden = !asJson.hidden;
      byField.hidden = !asJson.hidden;
      for (const { control } of controls) control.element.toggleAttribute('disabled', byField.hidden);
      fill(toggle, asJson.hidden ? 'Edit as JSON' : 'Edit as a form');
    },
    { kind: 'quiet' },
  );
  return {
    element: h('div', null, Object.values(lists), byField, asJson),
    toggle,
    read: () => (asJson.hidden ? readFields() : readJson()),
  };
}

/**
 * @param {string} text
 * @returns {Record<string, unknown>}
 */
function objectOf(text) {
  let value;
  try {
    value = JSON.parse(text.trim() === '' ? '{}' : text);
  } catch (error) {
    throw new Error(`The arguments are not JSON: ${error instanceof Error ? error.message : ''}`, { cause: error });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new Error('The arguments must be a JSON object.');
  return value;
}

/**
 * Returns suggestions for arguments that name something that exists.
 * @param {readonly string[]} names
 * @param {Scope} scope
 * @returns {Promise<Record<string, HTMLDataListElement>>}
 */
async function suggestions(names, { signal }) {
  /** @type {Record<string, HTMLDataListElement>} */
  const lists = {};
  /** @param {readonly string[]} values */
  const list = (values) =>
    h(
      'datalist',
      { id: `choices-${nextId()}` },
      values.map((value) => h('option', { value })),
    );
  if (names.some((name) => IMAGES.has(name))) {
    const images = await listImages({ limit: 100 }, signal);
    lists['image'] = list(images.flatMap(({ uuid, tags = [] }) => [...tags.map((tag) => `tag:${tag}`), uuid]));
  }
  if (names.includes('operation_id')) {
    lists['operation_id'] = list((await listOperations({ limit: 50 }, signal)).map(({ uuid }) => uuid));
  }
  return lists;
}

/**
 * @param {string} name
 * @param {JsonSchema} schema
 * @param {Record<string, HTMLDataListElement>} lists
 * @returns {Control}
 */
function controlFor(name, schema, lists) {
  if (schema.enum) return choice(schema.enum.map(String), schema);
  if (schema.type === 'boolean') return choice(['true', 'false'], schema, (text) => text === 'true');
  if (schema.type === 'integer' || schema.type === 'number') return numeric(schema);
  if (schema.type === 'array' && schema.items?.type === 'string')
    return long('one per line', linesOf, (value) => /** @type {string[]} */ (value).join('\n'));
  if (
    schema.type === 'object' &&
    typeof schema.additionalProperties === 'object' &&
    schema.additionalProperties.type === 'string'
  ) {
    return long('NAME=value, one per line', pairsOf, (value) =>
      Object.entries(/** @type {object} */ (value))
        .map((pair) => pair.join('='))
        .join('\n'),
    );
  }
  if (schema.type === 'string') return textual(name, schema, lists);
  return long(
    'JSON',
    (text) => JSON.parse(text),
    (value) => JSON.stringify(value, undefined, 1),
  );
}

/** @param {unknown} value */
function printed(value) {
  if (value === undefined) return '';
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/** @param {JsonSchema} schema */
function usual(schema) {
  return schema.default === undefined ? 'not set' : `${printed(schema.default)} (default)`;
}

/**
 * @param {readonly string[]} values
 * @param {JsonSchema} schema
 * @param {(text: string) => unknown} [parse]
 * @returns {Control}
 */
function choice(values, schema, parse = (text) => text) {
  const element = select([['', usual(schema)], ...values.map((value) => /** @type {const} */ ([value, value]))]);
  return {
    element,
    read: () => (element.value === '' ? undefined : parse(element.value)),
    write: (value) => void (element.value = printed(value)),
  };
}

/**
 * @param {JsonSchema} schema
 * @returns {Control}
 */
function numeric({ minimum, maximum, type, default: usually }) {
  const step = type === 'integer' ? 1 : 'any';
  const placeholder = printed(usually);
  const element = h('input', { type: 'number', min: minimum, max: maximum, step, placeholder });
  return {
    element,
    read: () => (element.value === '' ? undefined : element.valueAsNumber),
    write: (value) => void (element.value = printed(value)),
  };
}

/**
 * @param {string} name
 * @param {JsonSchema} schema
 * @param {Record<string, HTMLDataListElement>} lists
 * @returns {Control}
 */
function textual(name, { default: usually }, lists) {
  const list = lists[IMAGES.has(name) ? 'image' : name]?.id;
  const props = {
    spellcheck: 'false',
    autocomplete: 'off',
    placeholder: printed(usually),
    class: 'mono',
  };
  const element = LONG.has(name) ? h('textarea', { ...props, rows: 3 }) : h('input', { ...props, type: 'text', list });
  return {
    element,
    read: () => (element.value === '' ? undefined : element.value),
    write: (value) => void (element.value = printed(value)),
  };
}

/**
 * @param {string} placeholder
 * @param {(text: string) => unknown} parse
 * @param {(value: unknown) => string} print
 * @returns {Control}
 */
function long(placeholder, parse, print) {
  const element = h('textarea', { rows: 2, spellcheck: 'false', class: 'mono', placeholder });
  return {
    element,
    read: () => (element.value.trim() === '' ? undefined : parse(element.value)),
    write: (value) => void (element.value = value === undefined ? '' : print(value)),
  };
}
