import assert from 'node:assert/strict';
import { test } from 'node:test';
import { streamRepr } from '../../src/contract/stream.ts';
import type { OperationEvent } from '../../src/contract/event.ts';
import { connectMcp } from '../support/mcp/client.ts';
import { ScriptedContree } from '../support/scripted/contree.ts';

const MIB = 1024 * 1024;

test('output beyond what is kept is paged to its end, and the gap is told', async () => {
  const contree = new ScriptedContree();
  const image = contree.addImage();
  await using mcp = await connectMcp(contree);
  const { operation_id } = (await mcp.call('run', { command: 'true', image })).structured;
  // The first 10 MiB and the last 64 KiB of 40 MiB, as the engine keeps them.
  const event = (type: string, data: object): OperationEvent => ({ type, data, spid: 1 }) as unknown as OperationEvent;
  contree.operations.events = async function* () {
    for (let index = 0; index < 10; index += 1) yield event('stdout', streamRepr(Buffer.alloc(MIB, 'a')));
    yield event('truncated', { stream: 'stdout', bytes_emitted: 10 * MIB, bytes_dropped: 30 * MIB });
    yield event('stdout', streamRepr(Buffer.alloc(64 * 1024, 'z')));
  };
  const page = async (offset: number) =>
    (await mcp.call('get_operation', { operation_id, stream: 'stdout', offset, length: 32_768 })).structured;
  const first = await page(10 * MIB - 100);
  assert.deepEqual([first.content, first.next_offset, first.hint], ['a'.repeat(100), 10 * MIB, undefined]);
  const offsets: number[] = [];
  for (let offset: number | undefined = first.next_offset; offset !== undefined;) {
    const { content, size, offset: start, next_offset, hint } = await page(offset);
    assert.deepEqual([content, size], ['z'.repeat(content.length), 40 * MIB]);
    const told = offsets.length === 0 ? /^bytes 10,485,760 to 41,877,504 of this stream were not kept; write/u : /^$/u;
    assert.match(hint ?? '', told);
    offsets.push(start);
    offset = next_offset;
  }
  assert.equal(offsets[0], 40 * MIB - 64 * 1024);
  assert.ok(offsets.length >= 2, 'offsets beyond 10 MiB are accepted');
  assert.match((await page(-20 * MIB)).hint, /were not kept/u);
});
