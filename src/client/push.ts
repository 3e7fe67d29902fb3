import { createInterface } from 'node:readline';
import { fault, faultFromReport } from '../contract/errors.ts';
import type { PushEvent } from '../contract/image.ts';
import type { ServerAnswer } from './transport.ts';

/** Yields the events of a push. Faults: the push's own, REMOTE_FAILED when the answer ends without a result. */
export async function* readPush(
  answer: ServerAnswer,
  check: (value: unknown) => Promise<unknown>,
): AsyncGenerator<PushEvent> {
  try {
    for await (const line of createInterface({ input: answer, crlfDelay: Infinity })) {
      const value = parse(line);
      if (value.type === 'failed') throw faultFromReport(value.fault) ?? broken('the push failed');
      const event = (await check(value)) as PushEvent;
      yield event;
      if (event.type === 'pushed') return;
    }
    throw broken('the answer ended before the push did');
  } finally {
    // A reader that stops reading stops the push.
    answer.destroy();
  }
}

function parse(line: string): { readonly type?: unknown; readonly fault?: unknown } {
  try {
    return JSON.parse(line) as { readonly type?: unknown };
  } catch (error) {
    throw fault('REMOTE_FAILED', { status: 200, reason: 'a line that is not JSON' }, { cause: error });
  }
}

function broken(reason: string): Error {
  return fault('REMOTE_FAILED', { status: 200, reason });
}
