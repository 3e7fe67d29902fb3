import type { PushEvent, PushProgress } from '../contract/image.ts';
import { settlesWithin } from '../std/abort.ts';

/** Interval of a push's progress events, which also keep its connection alive. */
const TELL_EVERY_MS = 500;

/** Push in progress. */
export type Push = (
  onProgress: (progress: PushProgress) => void,
  signal: AbortSignal,
) => Promise<{ readonly reference: string; readonly digest: string }>;

/** Yields the events of a push, which runs only as long as they are read, and throws its fault. */
export async function* pushEvents(push: Push, signal?: AbortSignal): AsyncGenerator<PushEvent> {
  const stop = new AbortController();
  let latest: PushProgress | undefined;
  const onProgress = (progress: PushProgress): void => void (latest = progress);
  const pushed = push(onProgress, AbortSignal.any([stop.signal, ...(signal ? [signal] : [])]));
  try {
    while (!(await settlesWithin(pushed, TELL_EVERY_MS))) {
      if (latest !== undefined) yield latest;
    }
    const result = await pushed;
    if (latest !== undefined) yield latest;
    yield { type: 'pushed', ...result };
  } finally {
    stop.abort(new Error('nobody follows the push any more'));
    await Promise.allSettled([pushed]);
  }
}
