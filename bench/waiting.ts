import { serveBench } from '../test/support/servers/served-engine.ts';
import { clientOfSocket } from '../test/support/client.ts';
import { connectMcp } from '../test/support/mcp/client.ts';
import { countingSocket } from '../test/support/network/counting-socket.ts';
import type { Place } from './support/place.ts';
import type { Report } from './support/report.ts';

const MB = 1e6;
const RUN_BYTES = 50 * MB;
const RUNS = 50;
const RUNS_BYTES_EACH = 1 * MB;

/** Megabytes that an engine sends to the MCP server over its socket. The engine uses the in-memory driver. */
export interface WaitingBytes {
  /** One call of `run` whose command writes 50 MB, by a client that shows progress. */
  readonly runWithProgress: number;
  /** The same by a client that does not. */
  readonly run: number;
  /** `wait_operations` on 50 runs that write 1 MB each. */
  readonly wait: number;
}

/** Measures the bytes that waiting transfers. */
export async function measureWaiting(): Promise<WaitingBytes> {
  await using served = await serveBench();
  await using counting = await countingSocket(served.socket);
  await using contree = clientOfSocket(counting.socket);
  await using mcp = await connectMcp(contree, 'modern', { inlineWaitMs: 300_000 });
  const image = served.bench.base.uuid;
  const received = async (work: () => Promise<unknown>): Promise<number> => {
    const before = counting.received;
    await work();
    return (counting.received - before) / MB;
  };
  const long = { image, command: `flood ${RUN_BYTES}`, timeout: 300 };
  const runWithProgress = await received(() =>
    mcp.call('run', long, { onprogress: () => undefined, timeout: 300_000 }),
  );
  const run = await received(() => mcp.call('run', long, { timeout: 300_000 }));
  const started = await Promise.all(
    Array.from({ length: RUNS }, () =>
      mcp.call('run', { image, command: `sleep 1; flood ${RUNS_BYTES_EACH}`, wait: false }),
    ),
  );
  const ids = started.map(({ structured }) => structured.operation_id as string);
  const wait = await received(() =>
    mcp.call('wait_operations', { operation_ids: ids, timeout: 300 }, { timeout: 300_000 }),
  );
  return { runWithProgress, run, wait };
}

/** Reports the transfer volume of waiting: a client should receive what it shows, not everything that was written. */
export async function benchWaiting(_place: Place, report: Report): Promise<void> {
  report.section('Waiting (in-memory driver)');
  const { runWithProgress, run, wait } = await measureWaiting();
  report.add({
    what: 'run, 50 MB of output, with progress',
    value: runWithProgress,
    unit: 'MB',
    budget: { atMost: 1.2 },
  });
  report.add({ what: 'run, 50 MB of output, without progress', value: run, unit: 'MB', budget: { atMost: 0.1 } });
  report.add({ what: 'wait_operations on 50 runs of 1 MB', value: wait, unit: 'MB', budget: { atMost: 1 } });
}
