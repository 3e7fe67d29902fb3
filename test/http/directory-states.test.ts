import assert from 'node:assert/strict';
import { test } from 'node:test';
import { httpContree } from '../../src/client/http-contree.ts';
import { Requester } from '../../src/client/requester.ts';
import { HttpTransport } from '../../src/client/transport.ts';
import { isFault } from '../../src/contract/errors.ts';
import { limits } from '../../src/contract/limits.ts';
import { jsonLines } from '../../src/std/json-lines.ts';
import { serveBench } from '../support/servers/served-engine.ts';

type Fault = { readonly code: string; readonly error: string };

const NDJSON = { 'Content-Type': 'application/x-ndjson' };

test('as many entries as the limits say go through, though their JSON is larger than a body may be', async () => {
  await using served = await serveBench();
  using transport = new HttpTransport({ url: 'http://localhost', socket: served.socket, headers: {} });
  const contree = httpContree(new Requester({ transport, checked: false }));
  const { sha256 } = await served.bench.store.files.write(
    (async function* () {
      yield Buffer.from('x');
    })(),
  );
  const count = limits.directoryStateEntriesMax;
  const entry = (index: number) => ({ path: `/work/${index}`, mode: 0o644, sha256, mtime: 1_700_000_000 });
  const entries = Array.from({ length: count }, (_, index) => entry(index));
  assert.ok(JSON.stringify({ entries }).length > limits.jsonBodyBytesMax);
  const { state, missing } = await contree.uploads.offerDirectory({ entries });
  assert.deepEqual([state?.entries, state?.bytes, missing], [count, count, []]);
  const tooMany = contree.uploads.offerDirectory({ entries: [...entries, entry(count)] });
  await assert.rejects(tooMany, (error) => isFault(error, 'LAYER_LIMIT') && error.message.includes(String(count)));
});

test('entries come as one JSON value or as lines, with the same meaning and the same checks', async () => {
  await using served = await serveBench();
  const { send } = served.owner;
  const path = '/v1/directory-states';
  const entries = [
    { path: '/b', mode: 0o755 },
    { path: '/a', mode: 0o777, symlink_to: 'b' },
  ];
  const lines = Buffer.concat(await Array.fromAsync(jsonLines(entries)));
  const one = await send('POST', path, { body: { entries } });
  const other = await send('POST', path, { body: lines, headers: NDJSON });
  assert.equal(one.status, 200);
  assert.deepEqual(other.json, one.json);
  const wrong: [string, RegExp, number][] = [
    ['{"path":"/a","mode":420}\n{"path":"/b","mode":"x"}\n', /line 2: mode: /u, 400],
    ['{"path":"/a","mode":420,"nope":1}', /line 1: unknown field "nope"/u, 400],
    ['{"path":"/a","mode":420}\n{"path":', /not JSON/u, 400],
    ['[]\n', /line 1: the body: /u, 400],
    [`{"path":"/${'x'.repeat(limits.jsonLineBytesMax)}","mode":420}`, /larger than/u, 413],
    ['{"path":"relative","mode":420}', /not absolute/u, 400],
  ];
  for (const [body, message, status] of wrong) {
    const answer = await send('POST', path, { body, headers: NDJSON });
    assert.equal(answer.status, status, body.slice(0, 80));
    assert.match((answer.json as Fault).error, message);
  }
  assert.equal((await send('POST', path, { body: '', headers: NDJSON })).status, 200, 'an empty folder is one too');
  const elsewhere = await send('POST', '/v1/instances', { body: '{}', headers: NDJSON });
  assert.equal(elsewhere.status, 400, 'other bodies are JSON whatever they are called');
});
