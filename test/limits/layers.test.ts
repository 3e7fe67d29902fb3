import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { startRegistry } from '../../scripts/support/registry.ts';
import { tarOf } from '../support/tar.ts';
import { openLimitsEngine } from './bench.ts';

const ENTRIES = 100_000;

const engine = await openLimitsEngine({ large: false });
const registry = await startRegistry();
after(async () => {
  await registry[Symbol.asyncDispose]();
  await engine[Symbol.asyncDispose]();
});

/** Runs an operation to its end and returns the image it made. */
async function imageOf(path: string, body: object): Promise<string> {
  const { json } = await engine.send('POST', path, { body });
  const { uuid } = json as { uuid: string };
  assert.equal(await engine.drain('GET', `/v1/operations/${uuid}/events?follow=1`), 200);
  const ended = (await engine.send('GET', `/v1/operations/${uuid}`)).json as {
    status: string;
    result_image_uuid: string;
  };
  assert.equal(ended.status, 'SUCCESS');
  return ended.result_image_uuid;
}

test(`an import of an archive with ${ENTRIES} tiny files, and a push of them`, async () => {
  const archive = tarOf(Array.from({ length: ENTRIES }, (_, at) => ({ path: `many/${at}` })));
  const uploaded = (await engine.send('POST', '/v1/files', { body: archive })).json as { uuid: string };
  let image = '';
  await engine.holds(async () => {
    image = await imageOf('/v1/images/import-archive', { file: uploaded.uuid });
  });
  await engine.holds(async () => {
    const body = { registry: { url: `docker://${registry.host}/team/many:1` } };
    const { status, text } = await engine.owner.send('POST', `/v1/images/${image}/push`, { body });
    const last = text.trimEnd().split('\n').at(-1) ?? '';
    assert.deepEqual([status, (JSON.parse(last) as { type: string }).type], [200, 'pushed'], last);
  });
});
