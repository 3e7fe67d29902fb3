import { Agent, request } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';

/** Requests to send, their target and rate. The measured times are printed as JSON to standard output. */
interface Order {
  readonly socket: string;
  /** Paths below `/v1`, requested in turn. */
  readonly paths: readonly string[];
  readonly perSecond: number;
  readonly seconds: number;
}

export interface LoadResult {
  /** Time from when each request was due to the end of its answer, milliseconds, in order of sending. */
  readonly timesMs: readonly number[];
  /** Number of unsuccessful answers. */
  readonly failures: number;
}

const CONNECTIONS_MAX = 64;

/**
 * Sends requests at a constant rate, regardless of answers: a server that stalls is charged for all the requests that
 * it delayed, as in production. (A client that waits for each answer before the next request would measure only the
 * first of them.)
 */
async function generate({ socket, paths, perSecond, seconds }: Order): Promise<LoadResult> {
  using agent = disposable(new Agent({ keepAlive: true, maxSockets: CONNECTIONS_MAX }));
  const timesMs: number[] = [];
  let failures = 0;
  const ask = (path: string): Promise<void> =>
    new Promise((resolve) => {
      const failed = (): void => {
        failures += 1;
        resolve();
      };
      const sent = request({ socketPath: socket, path: `/v1${path}`, agent: agent.value }, (answer) => {
        if (answer.statusCode !== 200) failures += 1;
        answer.once('end', resolve).once('error', failed).resume();
      });
      sent.once('error', failed).end();
    });
  const startedMs = performance.now();
  const count = perSecond * seconds;
  const pending: Promise<void>[] = [];
  for (let sent = 0; sent < count; await delay(1)) {
    const due = Math.min(count, Math.floor(((performance.now() - startedMs) / 1_000) * perSecond));
    for (; sent < due; sent += 1) {
      const index = sent;
      const dueMs = startedMs + (index * 1_000) / perSecond;
      const asked = ask(paths[index % paths.length] ?? '/').then(() => {
        timesMs[index] = performance.now() - dueMs;
      });
      pending.push(asked);
    }
  }
  await Promise.all(pending);
  return { timesMs, failures };
}

function disposable(value: Agent): { readonly value: Agent } & Disposable {
  return { value, [Symbol.dispose]: () => value.destroy() };
}

process.stdout.write(JSON.stringify(await generate(JSON.parse(process.argv[2] ?? '{}') as Order)));
