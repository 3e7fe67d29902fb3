import { open } from 'node:fs/promises';
import { fault } from '../../contract/errors.ts';
import { writeFully } from '../../std/files.ts';
import { matching } from '../../std/streams.ts';
import { writing } from '../disk.ts';
import type { Layer, LayerStore } from '../layers.ts';

/** Returns the bytes of a layer that is not here. */
export type FetchLayer = (layer: Layer, signal: AbortSignal) => AsyncIterable<Uint8Array>;

/**
 * Publishes a layer whose bytes come from elsewhere. They are hashed while they are written, and only those that the digest
 * names become a layer. The caller holds it. Rejects with OBJECT_DAMAGED, DISK_FULL or a fault of the source, and then keeps
 * nothing.
 */
export async function receiveLayer(
  store: LayerStore,
  layer: Layer,
  chunks: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): Promise<void> {
  const named = { sha256: layer.digest, bytes: layer.bytes };
  const damaged = (reason: string): Error => fault('OBJECT_DAMAGED', { key: `layer ${layer.digest}`, reason });
  await using staged = store.stage();
  await writing(async () => {
    await using file = await open(staged.path, 'wx', 0o600);
    let at = 0;
    for await (const chunk of matching(chunks, named, damaged)) {
      signal.throwIfAborted();
      await writeFully(file, [chunk], at);
      at += chunk.byteLength;
    }
  });
  await store.publish(staged, layer);
}
