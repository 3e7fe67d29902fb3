import { fault } from '../../contract/errors.ts';
import { limits } from '../../contract/limits.ts';
import type { ProjectStore } from '../../store/project-store.ts';
import type { PackedFormat } from '../../tar/packed/unpack-file.ts';
import type { Threads } from './threads.ts';

/** Yields the plain bytes of packed data. */
export type Unpack = (packed: AsyncIterable<Uint8Array>, format: PackedFormat) => AsyncGenerator<Uint8Array>;

/**
 * Returns a way to unpack data of a project in a thread, which is ended when a piece takes longer than `limit` seconds. The data
 * becomes a file of the store meanwhile. Faults: LAYER_MALFORMED, INSPECTION_LIMIT and those of the store.
 */
export function unpacker(
  { store, threads }: { readonly store: ProjectStore; readonly threads: Threads },
  signal: AbortSignal,
  limit: number = limits.inspectionSecondsMax,
): Unpack {
  return async function* (packed, format) {
    const { sha256 } = await store.files.write(packed, signal);
    const path = await store.files.asFile(sha256);
    const late = new AbortController();
    const give = (): NodeJS.Timeout =>
      setTimeout(() => late.abort(fault('INSPECTION_LIMIT', { what: 'seconds', limit })), limit * 1_000).unref();
    let timer = give();
    try {
      const ends = AbortSignal.any([signal, late.signal]);
      for await (const piece of threads.stream(store.project, { name: 'unpack', path, format }, ends)) {
        clearTimeout(timer);
        yield piece;
        timer = give();
      }
    } finally {
      clearTimeout(timer);
    }
  };
}
