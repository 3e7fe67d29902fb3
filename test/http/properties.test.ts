import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { createApp, type App } from '../../src/http/app.ts';
import { OWNER } from '../../src/http/auth.ts';
import { SILENT } from '../../src/http/log.ts';
import { IMPORTER, PUSHER } from '../conformance/contree.ts';
import { openEngine } from '../engine/bench.ts';
import { operations, ours, type Operation, type Schema } from '../support/openapi.ts';

/** The API over a real engine, with existing subjects for most ids. */
interface Bench extends AsyncDisposable {
  readonly app: App;
  readonly image: string;
  readonly running: string;
}

async function open(): Promise<Bench> {
  const bench = await openEngine({ importer: IMPORTER, pusher: PUSHER });
  const { engine, base } = bench;
  const app = createApp({
    contreeFor: (principal) => engine.forTenant(principal),
    log: SILENT,
    version: '1',
    authentication: { kind: 'fixed', principal: OWNER },
  });
  await engine.tags.set(base.uuid, { tag: 'base' });
  const { uuid: running } = await engine.runs.start({ command: 'sleep', args: ['600'], image: base.uuid });
  return { app, image: base.uuid, running, [Symbol.asyncDispose]: () => bench[Symbol.asyncDispose]() };
}

interface Sent {
  readonly method: string;
  readonly url: string;
  readonly body?: string | undefined;
}

/** Asserts a success or a fault in the common format, whatever was sent. Returns status and body. */
async function answered(app: App, { method, url, body }: Sent): Promise<{ status: number; error: string }> {
  const sent: RequestInit = body === undefined || ['GET', 'HEAD'].includes(method) ? {} : { body };
  const response = await app(new Request(url, { method, signal: AbortSignal.timeout(60_000), ...sent }));
  const shown = `${method} ${url.slice(0, 500)} ${body?.slice(0, 500)} → ${response.status}`;
  assert.ok(response.status < 500, shown);
  if (response.status < 400 || method === 'HEAD') {
    await response.body?.cancel();
    return { status: response.status, error: '' };
  }
  const answer = (await response.json()) as Record<string, unknown>;
  const { error, status, code, class: kind, hint, detail } = answer;
  assert.ok(typeof error === 'string' && error !== '' && error.length < 10_000, shown);
  assert.ok(typeof code === 'string' && typeof kind === 'string' && typeof hint === 'string', shown);
  assert.ok(typeof detail === 'object', shown);
  assert.equal(status, response.status);
  return { status: response.status, error };
}

function resolved(schema: Schema): Schema {
  return schema.$ref ? (ours.components.schemas[schema.$ref.split('/').at(-1) ?? ''] ?? {}) : schema;
}

/** Returns one value that the schema allows. */
function sample(schema: Schema, image: string): unknown {
  const target = resolved(schema);
  const [option] = target.anyOf ?? target.oneOf ?? [];
  if (option) return sample(option, image);
  if (target.enum) return target.enum[0];
  if (target.type === 'integer' || target.type === 'number') return 1;
  if (target.type === 'boolean') return true;
  if (target.type === 'string') return image;
  if (target.type === 'array') return [sample(target.items ?? {}, image)];
  if (typeof target.additionalProperties === 'object') return { a: sample(target.additionalProperties, image) };
  const required = new Set(target.required);
  const fields = Object.entries(target.properties ?? {}).filter(([name]) => required.has(name));
  return Object.fromEntries(fields.map(([name, field]) => [name, sample(field, image)]));
}

/** Values of every type, mostly invalid. */
const CONTROL = '\u0000\u0001\u001b[2J\r\n\u202e\ud800';
const BAD: readonly unknown[] = [
  null,
  true,
  0,
  -1,
  1.5,
  1e300,
  Number.MAX_SAFE_INTEGER,
  '',
  'x',
  CONTROL,
  'x'.repeat(1_000_000),
  [],
  [[]],
  [null],
  {},
  { a: {} },
  { '': '' },
  { [CONTROL]: CONTROL },
];
/** Numbers that JSON can represent and JavaScript cannot. */
const RAW = ['1e999', '-1e999', '123456789012345678901234567890', '-0', '1E400'];

/** Returns every field of a body as the path that leads to it. */
function paths(schema: Schema, depth = 0): string[][] {
  const target = resolved(schema);
  const options = target.anyOf ?? target.oneOf ?? target.allOf;
  if (options) return options.flatMap((option) => paths(option, depth + 1));
  if (depth > 4) return [];
  return Object.entries(target.properties ?? {}).flatMap(([name, field]) => [
    [name],
    ...paths(field, depth + 1).map((path) => [name, ...path]),
  ]);
}

function typesAt(schema: Schema, [name = '', ...rest]: readonly string[]): Set<string> {
  const target = resolved(schema);
  const options = target.anyOf ?? target.oneOf ?? target.allOf;
  if (options) return new Set(options.flatMap((option) => [...typesAt(option, [name, ...rest])]));
  if (name === '') return new Set([...(target.type ? [target.type] : ['any']), ...(target.nullable ? ['null'] : [])]);
  const field = target.properties?.[name];
  return field ? typesAt(field, rest) : new Set();
}

function typeOf(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'array';
  return Number.isInteger(value) ? 'integer' : typeof value;
}

/** Returns the value with the field at a path set or, with undefined, removed. */
function changed(value: unknown, [name, ...rest]: readonly string[], field: unknown): unknown {
  if (name === undefined) return field;
  const object: object = typeof value === 'object' && value !== null && !Array.isArray(value) ? value : {};
  const inner = changed((object as Record<string, unknown>)[name], rest, field);
  return Object.fromEntries([...Object.entries(object).filter(([key]) => key !== name), [name, inner]]);
}

/** Reports whether a value has another type than the schema allows at its place. Null means absent. */
function mustRefuse(value: unknown, allowed: ReadonlySet<string>, place: string): boolean {
  const type = typeOf(value);
  const fits = allowed.has('any') || allowed.has(type) || (type === 'integer' && allowed.has('number'));
  return !fits && value !== null && !LEGACY.has(`${place} ${type}`);
}

/** Accepted although no schema has them: fields of the first version of the API. */
const LEGACY = new Set(['/images/import registry string']);

function bodySchema(operation: Operation): Schema | undefined {
  return operation.requestBody?.content['application/json']?.schema;
}

test(
  'every field of every body: missing, of each wrong type, huge, with control characters',
  { timeout: 600_000 },
  async () => {
    await using bench = await open();
    const { app, image, running } = bench;
    for (const { path, method, operation } of operations(ours)) {
      const schema = bodySchema(operation);
      // Excluded, because they end or change what the others need.
      if (schema === undefined || operation.operationId === 'stopEngine') continue;
      const target = path
        .replace('{spid}', '1')
        .replace('{operationId}', running)
        .replaceAll(/\{\w+\}/gu, image);
      const sent = (body: string): Sent => ({
        method: method.toUpperCase(),
        url: `http://localhost/v1${target}`,
        body,
      });
      const good = sample(schema, image);
      for (const field of paths(schema)) {
        const allowed = typesAt(schema, field);
        await answered(app, sent(JSON.stringify(changed(good, field, undefined))));
        for (const value of BAD) {
          const { status } = await answered(app, sent(JSON.stringify(changed(good, field, value))));
          const refused = mustRefuse(value, allowed, `${path} ${field.join('.')}`);
          assert.ok(status >= 400 || !refused, `${method} ${path} ${field.join('.')} takes a ${typeOf(value)}`);
        }
        const marked = JSON.stringify(changed(good, field, '@@'));
        for (const raw of RAW) await answered(app, sent(marked.replace('"@@"', raw)));
      }
    }
  },
);

test('an unknown field is named, at whatever depth it is', async () => {
  await using bench = await open();
  const { app, image, running } = bench;
  for (const { path, method, operation } of operations(ours)) {
    const schema = bodySchema(operation);
    if (schema === undefined) continue;
    const url = `http://localhost/v1${path
      .replace('{spid}', '1')
      .replace('{operationId}', running)
      .replaceAll(/\{\w+\}/gu, image)}`;
    const parents = new Set(paths(schema).map((field) => field.slice(0, -1).join('.')));
    for (const parent of parents) {
      const field = [...parent.split('.').filter(Boolean), 'no_such_field'];
      const body: string = JSON.stringify(changed(sample(schema, image), field, 1));
      const { status, error } = await answered(app, { method: method.toUpperCase(), url, body });
      assert.equal(status, 400, `${path} ${body}`);
      assert.match(error, /unknown field "(?:.*\.)?no_such_field"/u, `${path} ${field.join('.')}`);
    }
  }
});

test('every query parameter: empty, wrong, huge, repeated, with control characters', { timeout: 600_000 }, async () => {
  await using bench = await open();
  const { app, image, running } = bench;
  const values = [
    '',
    'x',
    '-1',
    '1e9',
    '99999999999999999999',
    '0x10',
    CONTROL,
    '../../etc',
    'x'.repeat(100_000),
    '%00',
    '[]',
  ];
  for (const { path, method, operation } of operations(ours)) {
    if (operation.operationId === 'stopEngine' || method === 'delete') continue;
    const target = path
      .replace('{spid}', '1')
      .replace('{operationId}', running)
      .replaceAll(/\{\w+\}/gu, image);
    for (const { name, schema } of (operation.parameters ?? []).filter((one) => one.in === 'query')) {
      for (const value of values) {
        const search = new URLSearchParams([
          ['path', '/'],
          ['pattern', 'x'],
          [name, value],
          [name, value],
        ]);
        const url = `http://localhost/v1${target}?${search.toString()}`;
        const { status } = await answered(app, { method: method.toUpperCase(), url });
        const isInteger = /^-?\d{1,15}$/u.test(value);
        assert.ok(status === 400 || isInteger || schema.type !== 'integer', `${path} ${name}=${value.slice(0, 20)}`);
      }
    }
  }
});

test('ids and paths of any shape', { timeout: 600_000 }, async () => {
  await using bench = await open();
  const odd = [
    'x',
    '-1',
    '%00',
    '%2e%2e',
    'tag:',
    'tag:../x',
    'TAG:base',
    encodeURIComponent(CONTROL.slice(0, -1)),
    'a'.repeat(5_000),
    '%F0%9F%92%A5',
    '%ff',
  ];
  for (const { path, method } of operations(ours)) {
    if (!path.includes('{')) continue;
    for (const id of odd) {
      const url = `http://localhost/v1${path.replaceAll(/\{\w+\}/gu, id)}?path=/&pattern=x&to=${id}`;
      const { status } = await answered(bench.app, { method: method.toUpperCase(), url, body: '{}' });
      assert.ok(status >= 300, `${method} ${path} with ${id.slice(0, 20)} → ${status}`);
    }
  }
});

test('what is no JSON object is said to be none', async () => {
  await using bench = await open();
  const url = 'http://localhost/v1/instances';
  const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`;
  for (const body of [
    '',
    'x',
    '[]',
    '1',
    '"x"',
    'null',
    '{"image":}',
    '{"a":1,}',
    'NaN',
    '{"timeout":NaN}',
    '\u0000',
  ]) {
    const { status } = await answered(bench.app, { method: 'POST', url, body });
    assert.equal(status, 400, body.slice(0, 30));
  }
  for (const body of [deep, `{"env":${deep}}`]) {
    assert.equal((await answered(bench.app, { method: 'POST', url, body })).status, 413, body.slice(0, 30));
  }
  const twice = '{"command":"true","image":"tag:no","image":"tag:base","timeout":1}';
  assert.equal((await answered(bench.app, { method: 'POST', url, body: twice })).status, 201, 'of two the last counts');
  const proto = '{"command":"true","image":"tag:base","__proto__":{"disposable":true}}';
  const { status, error } = await answered(bench.app, { method: 'POST', url, body: proto });
  assert.deepEqual([status, error], [400, 'unknown field "__proto__"']);
});
const NASTY = ['', '\0', '../../etc/passwd', '💥\u202e\n', '%2e%2e%2f', 'a'.repeat(5_000), '-1', '1e309', 'null', '[]'];
const nasty = fc.oneof(fc.constantFrom(...NASTY), fc.string({ unit: 'binary', maxLength: 20 }));

/** Generates values that roughly match a schema. */
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

/** Generates a valid body, one with a field broken, missing or added, or text that is not JSON. */
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
  { timeout: 600_000 },
  async () => {
    await using bench = await open();
    const { app, image, running } = bench;
    const segment = fc.oneof(fc.constantFrom(image, running, 'tag:base', '1', '2'), nasty);
    for (const { path, method, operation } of operations(ours)) {
      if (operation.operationId === 'stopEngine') continue;
      const names = (operation.parameters ?? []).filter((one) => one.in === 'query').map(({ name }) => name);
      const value = fc.oneof(fc.constantFrom('/', '/a', '1', '15m', 'base', image), nasty);
      const query = fc.dictionary(fc.constantFrom('unknown', ...names), value);
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
        await answered(app, { method: method.toUpperCase(), url, body });
      };
      await fc.assert(fc.asyncProperty(request, check), { numRuns: 60, seed: 20_261_122 });
    }
  },
);
