import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { parse } from 'yaml';
import { OPERATION_STATUSES } from '../../src/contract/operation-state.ts';
import { openApiYaml } from '../../src/http/openapi.ts';
import { operations, ours, type Document, type Parameter, type Schema } from '../support/openapi.ts';

const contract = parse(readFileSync('test/http/contract.openapi.yaml', 'utf8'), { merge: true }) as Document;

/** Returns the fields of a schema, including those of the schemas it is composed of. */
function fields(document: Document, schema: Schema): { properties: Record<string, Schema>; required: string[] } {
  const target = schema.$ref ? document.components.schemas[schema.$ref.split('/').at(-1) ?? ''] : schema;
  const parts = (target?.allOf ?? []).map((part) => fields(document, part));
  return {
    properties: Object.assign({}, ...parts.map(({ properties }) => properties), target?.properties),
    required: [...parts.flatMap(({ required }) => required), ...(target?.required ?? [])].toSorted(),
  };
}

/** Schemas of requests; their required fields may not grow. */
const REQUESTS = new Set(['ImageImportRequest', 'ClosableStreamRepr', 'ExecSpec', 'InstanceSpawnRequest']);

test('every operation of the contract exists under its id, with its parameters and its success status', () => {
  for (const { path, method, operation } of operations(contract)) {
    const mine = operations(ours).find((other) => other.path === path && other.method === method)?.operation;
    const where = `${method} ${path}`;
    assert.ok(mine, where);
    if (operation.operationId !== undefined) assert.equal(mine.operationId, operation.operationId, where);
    for (const parameter of operation.parameters ?? []) {
      const found: Parameter | undefined = mine.parameters?.find(
        ({ name, in: place }) => name === parameter.name && place === parameter.in,
      );
      assert.ok(found, `${where} takes ${parameter.name}`);
      assert.equal(found.required ?? false, parameter.required ?? false, `${where} ${parameter.name}`);
      if (parameter.schema.enum)
        assert.deepEqual(found.schema.enum, parameter.schema.enum, `${where} ${parameter.name}`);
    }
    const [success] = Object.keys(operation.responses);
    assert.ok(Object.keys(mine.responses).includes(success ?? ''), `${where} answers ${success}`);
    const media = Object.keys(operation.responses[success ?? '']?.content ?? {});
    assert.deepEqual(Object.keys(mine.responses[success ?? '']?.content ?? {}), media, where);
  }
});

test('every schema of the contract exists, with its fields and with what it requires', () => {
  for (const [name, schema] of Object.entries(contract.components.schemas)) {
    assert.ok(ours.components.schemas[name], name);
    const [theirs, mine] = [fields(contract, schema), fields(ours, { $ref: `#/${name}` })];
    for (const [field, { type }] of Object.entries(theirs.properties)) {
      assert.ok(mine.properties[field] ?? name === 'InstanceSpawnResponse', `${name}.${field}`);
      const found = mine.properties[field]?.type;
      if (type !== undefined && found !== undefined) assert.equal(found, type, `${name}.${field}`);
    }
    if (REQUESTS.has(name)) assert.deepEqual(mine.required, theirs.required, name);
    else for (const field of theirs.required) assert.ok(mine.required.includes(field), `${name} requires ${field}`);
  }
});

test('operation ids are unique, and every reference leads somewhere', () => {
  const ids = operations(ours).flatMap(({ operation: { operationId } }) => operationId ?? []);
  assert.equal(new Set(ids).size, ids.length);
  for (const [, name = ''] of JSON.stringify(ours).matchAll(/#\/components\/schemas\/(\w+)/gu)) {
    assert.ok(ours.components.schemas[name], name);
  }
  assert.deepEqual(parse(openApiYaml('1.2.3')), JSON.parse(JSON.stringify(ours)));
});

/** Names that Python, JavaScript and Go do not allow for a field. */
const RESERVED = new Set([
  'class',
  'def',
  'from',
  'import',
  'function',
  'var',
  'func',
  'default',
  'return',
  'in',
  'is',
]);

test('generators of other clients can use the document: no reserved names, enums in place, errors by status', () => {
  for (const [name, { properties = {} }] of Object.entries(ours.components.schemas)) {
    for (const field of Object.keys(properties)) {
      assert.ok(!RESERVED.has(field), `${name}.${field}`);
    }
  }
  for (const name of ['OperationSummary', 'OperationResponse']) {
    assert.deepEqual(ours.components.schemas[name]?.properties?.['status']?.enum, [...OPERATION_STATUSES], name);
  }
  for (const { path, method, operation } of operations(ours)) {
    const refusals = Object.keys(operation.responses).filter((status) => status >= '400' && status < '500');
    assert.ok(refusals.includes('401') && refusals.includes('403'), `${method} ${path}`);
    if (path.includes('{')) assert.ok(refusals.includes('404'), `${method} ${path}`);
  }
});
