import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clientOfSocket } from '../support/client.ts';
import { connectMcp } from '../support/mcp/client.ts';
import { countingSocket } from '../support/network/counting-socket.ts';
import { serveBench } from '../support/servers/served-engine.ts';

const MIB = 1024 * 1024;

test('waiting transfers what is shown and the end of a long output, not all that was kept of it', async () => {
  await using served = await serveBench();
  await using counting = await countingSocket(served.socket);
  await using contree = clientOfSocket(counting.socket);
  await using mcp = await connectMcp(contree, 'modern', { inlineWaitMs: 120_000 });
  const image = served.bench.base.uuid;
  const received = async (work: () => Promise<unknown>): Promise<number> => {
    const before = counting.received;
    await work();
    return counting.received - before;
  };
  const command = `flood ${20 * MIB}; echo the end`;

  let text = '';
  const run = await received(async () => ({ text } = await mcp.call('run', { image, command, timeout: 120 })));
  assert.ok(run < MIB / 4, `${run} bytes for a client without progress`);
  assert.match(text, /20,971,528 bytes[\s\S]*bytes omitted[\s\S]*the end/u);

  const shown = await received(() =>
    mcp.call('run', { image, command, timeout: 120 }, { onprogress: () => undefined, timeout: 120_000 }),
  );
  assert.ok(shown < 1.5 * MIB, `${shown} bytes for a client that is shown the last line`);

  const { structured } = await mcp.call('run', { image, command: `sleep 1; ${command}`, wait: false });
  const wait = await received(() => mcp.call('wait_operations', { operation_ids: [structured.operation_id] }));
  assert.ok(wait < MIB / 4, `${wait} bytes`);
});
