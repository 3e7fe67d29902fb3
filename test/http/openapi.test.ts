import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { parse } from 'yaml';
import { createApp } from '../../src/http/app.ts';
import { OWNER } from '../../src/http/auth.ts';
import { SILENT } from '../../src/http/log.ts';
import { openApiDocument, openApiYaml } from '../../src/http/openapi.ts';
import { ScriptedContree } from '../support/scripted-contree.ts';

interface Schema {
  readonly $ref?: string;
  readonly type?: string;
  readonly nullable?: boolean;
  readonly enum?: readonly string[];
  readonly required?: readonly string[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: Schema | boolean;
  readonly items?: Schema;
  readonly anyOf?: readonly Schema[];
  readonly allOf?: readonly Schema[];
  readonly oneOf?: readonly Schema[];
}

interface Parameter {
  readonly name: string;
  readonly in: string;
  readonly required?: boolean;
  readonly schema: Schema;
}

interface Operation {
  readonly operationId?: string;
  readonly parameters?: readonly Parameter[];
  readonly requestBody?: { readonly content: Readonly<Record<string, { readonly schema: Schema }>> };
  readonly responses: Readonly<
    Record<string, { readonly content?: Readonly<Record<string, { readonly schema: Schema }>> }>
  >;
}

interface Document {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, Schema>> };
}

const ours = openApiDocument('1.2.3') as unknown as Document;
const contract = parse(readFileSync('test/http/contract.openapi.yaml', 'utf8'), { merge: true }) as Document;

const METHODS = ['get', 'head', 'post', 'patch', 'delete'] as const;

function operations(document: Document): { path: string; method: string; operation: Operation }[] {
  return Object.entries(document.paths).flatMap(([path, item]) =>
    METHODS.flatMap((method) => {
      const operation = item[method];
      const shared = (item as { parameters?: readonly Parameter[] }).parameters ?? [];
      if (operation === undefined) return [];
      return [{ path, method, operation: { ...operation, parameters: [...shared, ...(operation.parameters ?? [])] } }];
    }),
  );
}

/** Fields of a schema, with those of the schemas it is composed of. */
function fields(document: Document, schema: Schema): { properties: Record<string, Schema>; required: string[] } {
  const target = schema.$ref ? document.components.schemas[schema.$ref.split('/').at(-1) ?? ''] : schema;
  const parts = (target?.allOf ?? []).map((part) => fields(document, part));
  return {
    properties: Object.assign({}, ...parts.map(({ properties }) => properties), target?.properties),
    required: [...parts.flatMap(({ required }) => required), ...(target?.required ?? [])].toSorted(),
  };
}

/** Schemas that clients write; what they must send may not grow. */
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

const NASTY = ['', '\0', '../../etc/passwd', '💥\u202e\n', '%2e%2e%2f', 'a'.repeat(5_000), '-1', '1e309', 'null', '[]'];
const nasty = fc.oneof(fc.constantFrom(...NASTY), fc.string({ unit: 'binary', maxLength: 20 }));

/** Values that fit a schema, more or less. */
function fitting(schema: Schema, depth = 0): fc.Arbitrary<unknown> {
  const target = schema.$ref ? (ours.components.schemas[schema.$ref.split('/').at(-1) ?? ''] ?? {}) : schema;
  const options = target.anyOf ?? target.oneOf ?? target.allOf;
  if (options) return fc.oneof(...options.map((option) => fitting(option, depth + 1)));
  if (target.enum) return fc.constantFrom(...target.enum);
  if (target.type === 'integer') return fc.oneof(fc.integer({ min: 0, max: 100 }), fc.maxSafeInteger());
  if (target.type === 'boolean') return fc.boolean();
  if (target.type === 'string') return fc.oneof(fc.constantFrom('a', 'tag:base', '0644'), nasty);
  if (target.type === 'array') return fc.array(fitting(target.items ?? {}, depth + 1), { maxLength: 3 });
  if (target.type !== 'object' || depth > 5) return fc.jsonValue();
  if (typeof target.additionalProperties === 'object') {
    return fc.dictionary(nasty, fitting(target.additionalProperties, depth + 1), { maxKeys: 3 });
  }
  const entries = Object.entries(target.properties ?? {}).map(
    ([name, field]) => [name, fitting(field, depth + 1)] as const,
  );
  return fc.record(Object.fromEntries(entries), { requiredKeys: [...(target.required ?? [])] });
}

/** A body as its schema has it, with a field broken, missing or too many, or no JSON at all. */
function bodies(operation: Operation): fc.Arbitrary<string | undefined> {
  const schema = operation.requestBody?.content['application/json']?.schema;
  if (schema === undefined) return fc.constantFrom(undefined, 'bytes');
  const fit = fitting(schema);
  const mutated = fc.tuple(fit, fc.constantFrom('extra', 'timeout', 'image', '__proto__'), fc.jsonValue());
  return fc.oneof(
    fit.map((value) => JSON.stringify(value)),
    mutated.map(([value, key, field]) => JSON.stringify({ ...(value as object), [key]: field })),
    fc.json(),
    nasty,
  );
}

test(
  'no request makes the server fail: whatever comes, a success or a fault in the one shape',
  { timeout: 60_000 },
  async () => {
    await using contree = new ScriptedContree();
    const image = contree.addImage({ '/a/b': 'text' }, 'base');
    const running = (await contree.spawn({ command: 'sleep', image })).uuid;
    const app = createApp({
      contreeFor: () => contree,
      log: SILENT,
      version: '1',
      authentication: { kind: 'fixed', principal: OWNER },
    });
    const segment = fc.oneof(fc.constantFrom(image, running, 'tag:base', '1', '2'), nasty);
    for (const { path, method, operation } of operations(ours)) {
      const query = fc.dictionary(
        fc.constantFrom(
          'unknown',
          ...(operation.parameters ?? []).filter((one) => one.in === 'query').map(({ name }) => name),
        ),
        fc.oneof(fc.constantFrom('/', '/a', '1', '15m', 'base', image), nasty),
      );
      const request = fc.tuple(fc.array(segment, { minLength: 2, maxLength: 2 }), query, bodies(operation));
      const check = async ([segments, search, body]: [
        string[],
        Record<string, string>,
        string | undefined,
      ]): Promise<void> => {
        let next = 0;
        const target = path.replaceAll(/\{\w+\}/gu, () =>
          encodeURIComponent((segments[(next += 1) - 1] ?? 'x').toWellFormed()),
        );
        const url = `http://localhost/v1${target}?${new URLSearchParams(search).toString()}`;
        const upper = method.toUpperCase();
        const sent: RequestInit = body === undefined || ['GET', 'HEAD'].includes(upper) ? {} : { body };
        const signal = AbortSignal.timeout(5_000);
        const response = await app(new Request(url, { method: upper, signal, ...sent }));
        assert.ok(response.status < 500, `${upper} ${url} ${body} → ${response.status}`);
        if (response.status < 400 || upper === 'HEAD') {
          await response.body?.cancel();
          return;
        }
        const { error, status, code, hint } = (await response.json()) as Record<string, unknown>;
        assert.ok(typeof error === 'string' && typeof code === 'string' && typeof hint === 'string');
        assert.equal(status, response.status);
      };
      await fc.assert(fc.asyncProperty(request, check), { numRuns: 60, seed: 20_261_122 });
    }
  },
);

test('an unknown field is named for every operation that takes JSON', async () => {
  await using contree = new ScriptedContree();
  const app = createApp({
    contreeFor: () => contree,
    log: SILENT,
    version: '1',
    authentication: { kind: 'fixed', principal: OWNER },
  });
  const image = contree.addImage();
  for (const { path, method, operation } of operations(ours)) {
    if (operation.requestBody?.content['application/json'] === undefined) continue;
    const url = `http://localhost/v1${path.replace('{spid}', '1').replaceAll(/\{\w+\}/gu, image)}`;
    const body = JSON.stringify({ no_such_field: 1 });
    const response = await app(new Request(url, { method: method.toUpperCase(), body }));
    const { error } = (await response.json()) as { error: string };
    assert.match(error, /unknown field "no_such_field"/u, path);
  }
});
