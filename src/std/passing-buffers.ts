import { collect } from './collector.ts';

/** After so many bytes the young buffers are freed, after so many all. Measured: docs/decisions/0013-import-memory.md. */
const YOUNG_EVERY_BYTES = 4 * 1024 * 1024;
const ALL_EVERY_BYTES = 64 * 1024 * 1024;

let youngBytes = 0;
/** The first collection of all comes with the first buffers, and frees what the start of the process has left too. */
let allBytes = ALL_EVERY_BYTES;
let first = true;

/**
 * Told of bytes that went through the process in buffers nobody needs any more. V8 collects when its own heap grows,
 * where a buffer is a few words whatever it holds: without this, a stream of gigabytes keeps some 60 MB of dead buffers.
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
