import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import type { Answer } from '../support/servers/http-server.ts';
import { openLimitsEngine } from './bench.ts';

const engine = await openLimitsEngine({ large: false });
after(() => engine[Symbol.asyncDispose]());
const { small } = engine;

/** Returns a JSON object of many fields as text, without building the object. */
function fields(count: number, name: (at: number) => string, value = '"x"'): string {
  return `{${Array.from({ length: count }, (_, at) => `"${name(at)}":${value}`).join(',')}}`;
}

function run(more: string): string {
  return `{"command":"true","image":"${small}",${more}}`;
}

const entries = Array.from({ length: 200_000 }, (_, at) => `{"path":"/f${at}","mode":420}`).join(',');
const STATE = 'c0ffee00-0000-8000-8000-000000000000';

/** Bodies within the size limit that used to be expensive. */
const BODIES: Readonly<Record<string, readonly [method: string, path: string, body: string]>> = {
  'an env of a million variables': ['POST', '/v1/instances', run(`"env":${fields(1_000_000, (at) => `K${at}`)}`)],
  'an env of integers': ['POST', '/v1/instances', run(`"env":${fields(900_000, String)}`)],
  'an env of wrong values': ['POST', '/v1/instances', run(`"env":${fields(900_000, (at) => `K${at}`, '5')}`)],
  'as many files as fit': ['POST', '/v1/instances', run(`"files":${fields(800_000, (at) => `/f${at}`, '{}')}`)],
  'unknown fields': ['POST', '/v1/images/import', fields(900_000, (at) => `unknown${at}`)],
  'deep JSON': ['POST', '/v1/instances', run(`"env":${'['.repeat(2_000_000)}${']'.repeat(2_000_000)}`)],
  'deep objects': ['POST', '/v1/instances', run(`"env":${'{"a":'.repeat(900_000)}1${'}'.repeat(900_000)}`)],
  'long lists of states': [
    'POST',
    '/v1/instances',
    run(`"directory_states":[${Array.from({ length: 300_000 }, () => `"${STATE}"`).join(',')}]`),
  ],
  'a state in one piece': ['POST', '/v1/directory-states', `{"entries":[${entries}]}`],
  'arguments of a run': ['POST', '/v1/instances', run(`"args":[${'"a",'.repeat(2_000_000)}"a"]`)],
};

const CUT: ReadonlySet<unknown> = new Set(['EPIPE', 'ECONNRESET']);
const ATTEMPTS = 10;

/**
 * Sends until the answer could be read. A server that refuses a body before it has all of it closes the connection, and
 * a client that still writes may lose the answer (RFC 9112, section 9.6).
 */
async function answered(attempt: () => Promise<Answer>): Promise<Answer> {
  for (let left = ATTEMPTS; ; left--) {
    try {
      return await attempt();
    } catch (error) {
      if (left === 0 || !CUT.has((error as NodeJS.ErrnoException).code)) throw error;
    }
  }
}

for (const [what, [method, path, body]] of Object.entries(BODIES)) {
  test(`${what}, refused before it is parsed`, async () => {
    await engine.holds(async () => {
      const headers = { 'Content-Type': 'application/json' };
      const { status, json } = await answered(() => engine.send(method, path, { body, headers }));
      assert.equal(status, 413);
      assert.match((json as { code: string }).code, /^BODY_TOO_(?:LARGE|COMPLEX)$/u);
    });
  });
}

test('what is just within the bounds is checked and refused, or taken, without holding up anybody', async () => {
  const env = fields(11_900, (at) => `K${at}`, '5');
  const files = fields(9_000, (at) => `/f${at}`, '{"uuid":"c0ffee00-0000-4000-8000-000000000000","mode":420,"uid":0}');
  await engine.holds(async () => {
    for (const more of [`"env":${env}`, `"files":${files}`]) {
      const { status } = await engine.send('POST', '/v1/instances', {
        body: run(more),
        headers: { 'Content-Type': 'application/json' },
      });
      assert.ok(status === 400 || status === 404, `${status}`);
    }
  });
});

test('16 MiB of input are taken', async () => {
  const stdin = Buffer.alloc(8 * 1024 * 1024, 'input').toString('base64');
  await engine.holds(async () => {
    const { status } = await engine.send('POST', '/v1/instances', {
      body: run(`"stdin":{"value":"${stdin}","encoding":"base64"}`),
      headers: { 'Content-Type': 'application/json' },
    });
    assert.equal(status, 201);
  });
});

test('an engine that stands still breaks the rule', async () => {
  const stop = engine.holds(async () => {
    process.kill(engine.pid, 'SIGSTOP');
    // Only time can show that it does not answer: longer than an answer may take on any machine.
    await setTimeout(600);
    process.kill(engine.pid, 'SIGCONT');
  });
  await assert.rejects(stop, /no answer for/u);
});

test('the description of the API is made once', async () => {
  await engine.holds(async () => {
    for (let at = 0; at < 100; at++) assert.equal(await engine.drain('GET', '/v1/openapi.yaml'), 200);
  });
});
