import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** After so many bytes the young buffers are freed, after so many all. Measured: docs/decisions/0013-import-memory.md. */
const YOUNG_EVERY_BYTES = 4 * 1024 * 1024;
const ALL_EVERY_BYTES = 16 * 1024 * 1024;

type Collect = (options?: { readonly type: 'minor' }) => void;

let collect: Collect | undefined;
let youngBytes = 0;
let allBytes = 0;

/**
 * Told of bytes that went through the process in buffers nobody needs any more. V8 collects when its own heap grows,
 * where a buffer is a few words whatever it holds: without this, a stream of gigabytes keeps some 60 MB of dead buffers.
 */
export function passed(bytes: number): void {
  youngBytes += bytes;
  allBytes += bytes;
  if (youngBytes < YOUNG_EVERY_BYTES) return;
  youngBytes = 0;
  collect ??= collector();
  if (allBytes < ALL_EVERY_BYTES) return collect({ type: 'minor' });
  allBytes = 0;
  collect();
}

/** The collector is no part of a normal context; a new one made after the flag was set has it. */
function collector(): Collect {
  setFlagsFromString('--expose-gc');
  return runInNewContext('gc') as Collect;
}
