import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { z } from 'zod';
import { API } from '../../src/contract/api/index.ts';
import type { Row } from '../../src/contract/api/row.ts';
import { SCHEMAS } from '../../src/contract/api/schemas.ts';
import { limits } from '../../src/contract/limits.ts';
import { openLimitsEngine } from './bench.ts';

const engine = await openLimitsEngine({ large: false });
after(() => engine[Symbol.asyncDispose]());

/** Schema of a parameter, as far as its values follow from it. */
interface Parameter {
  readonly type?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly enum?: readonly string[];
}

const LONG = limits.pathBytesMax;
/** More of one parameter than is taken. */
const TIMES = 1_001;

/** Texts at and beyond limits, and such that are much work for a path, a pattern or a glob. */
const TEXTS: readonly string[] = [
  '',
  '/',
  'x'.repeat(LONG),
  'x'.repeat(LONG + 1),
  '/'.repeat(LONG),
  '/etc/..'.repeat(LONG / 7),
  '*a'.repeat(LONG / 2),
  '{a,'.repeat(LONG / 3),
  '(?:a{1,900}){1,900}',
  '(a|b)*'.repeat(LONG / 6),
  '[[:alpha:]]'.repeat(LONG / 11),
  '\0',
  '\u{1f4a9}'.repeat(500),
];

function valuesOf({ type, minimum = 0, maximum = 0, enum: choices }: Parameter): readonly (readonly string[])[] {
  if (type === 'integer') {
    const numbers = [minimum - 1, minimum, maximum, maximum + 1, 1e308, -0, Number.NaN];
    return [...numbers.map(String), '9'.repeat(400), '1e3', ' 1'].map((text) => [text]);
  }
  if (choices !== undefined) return [...choices, 'other', 'x'.repeat(LONG)].map((text) => [text]);
  const texts = TEXTS.map((text) => [text]);
  return type === 'array'
    ? [...texts, Array.from({ length: TIMES }, () => '/'), Array.from({ length: 900 }, () => 'a*')]
    : texts;
}

/** Values without which a route does nothing. */
const USUAL: Readonly<Record<string, string>> = { path: '/', pattern: 'root', to: engine.small };

const ROWS = Object.values<Readonly<Record<string, Row>>>(API)
  .flatMap((rows) => Object.values(rows))
  .filter(({ method, query, wireQuery }) => method === 'GET' && (query ?? wireQuery) !== undefined);

/** Parameters of a row by name. */
function parametersOf({ query, wireQuery }: Row): readonly (readonly [string, Parameter])[] {
  return [query, wireQuery].flatMap((name) => {
    if (name === undefined) return [];
    const { properties = {} } = z.toJSONSchema(SCHEMAS[name], { io: 'input' }) as {
      properties?: Readonly<Record<string, Parameter>>;
    };
    return Object.entries(properties);
  });
}

/** Returns the query with these values of one parameter, and of the others what makes the route work. */
function queryOf(parameters: ReturnType<typeof parametersOf>, name: string, values: readonly string[]): string {
  const query = new URLSearchParams(values.map((value): [string, string] => [name, value]));
  for (const [other] of parameters) {
    const value = USUAL[other];
    if (value !== undefined && other !== name) query.set(other, value);
  }
  return query.toString();
}

/** The header of a request may be too long for the server altogether. */
const ANSWERS = [200, 206, 301, 302, 400, 404, 413, 416, 422, 429, 431];

for (const row of ROWS) {
  test(`GET ${row.path}: parameters at and beyond each limit`, async () => {
    const path = `/v1${row.path.replaceAll(/\{\w+\}/gu, (name) => (name === '{spid}' ? '1' : engine.small))}`;
    const parameters = parametersOf(row);
    assert.ok(parameters.length > 0);
    await engine.holds(async () => {
      for (const [name, parameter] of parameters) {
        for (const values of valuesOf(parameter)) {
          const status = await engine.drain('GET', `${path}?${queryOf(parameters, name, values)}`);
          assert.ok(ANSWERS.includes(status), `${status} to ${name}=${values[0]?.slice(0, 40)}`);
        }
      }
    });
  });
}

test('there are routes to try', () => assert.ok(ROWS.length > 8));
