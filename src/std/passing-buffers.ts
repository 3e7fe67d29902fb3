import { collect } from './collector.ts';

/**
 * Bytes after which the young generation is collected, and all garbage. Measured: docs/decisions/0013-import-memory.md.
 */
const YOUNG_EVERY_BYTES = 4 * 1024 * 1024;
const ALL_EVERY_BYTES = 64 * 1024 * 1024;

let youngBytes = 0;
/** The first full collection happens with the first buffers and also frees garbage from the start of the process. */
let allBytes = ALL_EVERY_BYTES;
let first = true;

/**
 * Counts bytes that passed through the process in buffers that are now garbage, and collects them. V8 collects when its
 * own heap grows, where a buffer is a few words whatever its size: without this, a stream of gigabytes keeps about 60
 * MB of dead buffers.
 */
export function passed(bytes: number): void {
  youngBytes += bytes;
  allBytes += bytes;
  if (youngBytes < YOUNG_EVERY_BYTES) return;
  youngBytes = 0;
  if (allBytes < ALL_EVERY_BYTES) return collect('young');
  allBytes = 0;
  collect(first ? 'thoroughly' : 'all');
  first = false;
}
