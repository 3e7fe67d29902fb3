import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { API } from '../../src/contract/api/index.ts';
import type { Row } from '../../src/contract/api/row.ts';
import { limits } from '../../src/contract/limits.ts';
import { openLimitsEngine } from './bench.ts';

const engine = await openLimitsEngine({ large: false });
after(() => engine[Symbol.asyncDispose]());

const { jsonValuesMax, jsonMembersMax, jsonDepthMax } = limits;

/** Bodies at a limit, one beyond it, and far beyond it. */
function bodies({ bodyBytesMax: bytesMax = limits.jsonBodyBytesDefault }: Row): string[] {
  const around = (limit: number): number[] => [limit - 1, limit, limit + 1, 4 * limit];
  const lists = (count: number): string => `[${Array.from({ length: count }, () => '[1,2,3,4,5,6,7,8,9]').join(',')}]`;
  return [
    ...[bytesMax - 8, bytesMax - 7, bytesMax].map((bytes) => `{"x":"${'x'.repeat(bytes)}"}`),
    ...around(jsonMembersMax).map((count) => `{"x":[${'1,'.repeat(count - 1)}1]}`),
    ...around(jsonMembersMax).map((count) => `{${Array.from({ length: count }, (_, at) => `"k${at}":1`).join(',')}}`),
    ...around(jsonDepthMax).map((depth) => `${'{"x":'.repeat(depth)}1${'}'.repeat(depth)}`),
    ...around(jsonValuesMax).map((count) => `{"x":${lists(Math.floor(count / 10))}}`),
  ];
}

/** Requests without effect, because they have a field that no route knows. */
const ROWS = Object.values<Readonly<Record<string, Row>>>(API)
  .flatMap((rows) => Object.values(rows))
  .filter(({ body }) => body !== undefined);

for (const row of ROWS) {
  test(`${row.method} ${row.path}: bodies at and beyond each limit`, async () => {
    const path = `/v1${row.path.replaceAll(/\{\w+\}/gu, (name) => (name === '{spid}' ? '1' : engine.small))}`;
    await engine.holds(async () => {
      for (const body of bodies(row)) {
        const headers = { 'Content-Type': 'application/json' };
        const status = await engine.send(row.method, path, { body, headers }).then((answer) => answer.status, refused);
        assert.ok([400, 403, 404, 409, 413].includes(status), `${status} to ${body.slice(0, 40)}`);
      }
    });
  });
}

/**
 * Sends a body that is far too long. It is answered before all of it was sent; the sender may then see only the end of
 * the connection.
 */
function refused(error: NodeJS.ErrnoException): number {
  assert.match(error.code ?? '', /^(?:EPIPE|ECONNRESET)$/u);
  return 413;
}

test('there are routes to try', () => assert.ok(ROWS.length > 8));
