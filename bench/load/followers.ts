import { request, type IncomingMessage } from 'node:http';

/** Target and number of followers. */
interface Order {
  readonly socket: string;
  readonly operation: string;
  readonly followers: number;
  /** False for followers that only keep their connections open. */
  readonly reading: boolean;
}

export interface FollowResult {
  /** Milliseconds from each event to a follower, in order of arrival. */
  readonly lagsMs: readonly number[];
  /** Followers whose answer ended before they were stopped. */
  readonly lost: number;
}

/** Enough for a percentile. */
const LAGS_MAX = 1_000_000;

const { socket, operation, followers, reading } = JSON.parse(process.argv[2] ?? '{}') as Order;
const lagsMs: number[] = [];
let lost = 0;
let stopping = false;
/** Events from before all were connected are replayed, and say nothing about the delay of new ones. */
let readyAtMs = Infinity;

function read(answer: IncomingMessage): void {
  let rest = '';
  answer.setEncoding('utf8').on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      const [, at] = /^data: \{.*"ts":"([^"]+)"/u.exec(line) ?? [];
      const atMs = at === undefined ? -1 : Date.parse(at);
      if (atMs >= readyAtMs && lagsMs.length < LAGS_MAX) lagsMs.push(Date.now() - atMs);
    }
  });
}

/** Resolves when the answer has begun. */
function follow(): Promise<void> {
  return new Promise((resolve, reject) => {
    const path = `/v1/operations/${operation}/events?follow=1`;
    const sent = request({ socketPath: socket, path, agent: false }, (answer) => {
      if (reading) read(answer);
      else answer.pause();
      answer.once('close', () => (lost += stopping ? 0 : 1)).on('error', () => undefined);
      resolve();
    });
    sent.once('error', reject).end();
  });
}

await Promise.all(Array.from({ length: followers }, follow));
readyAtMs = Date.now();
process.stdout.write('ready\n');
process.stdin.once('data', () => {
  stopping = true;
  process.stdout.write(JSON.stringify({ lagsMs, lost }), () => process.exit(0));
});
