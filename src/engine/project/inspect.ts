import type { ProjectStore } from '../../store/project-store.ts';
import type { ImageLayers, StreamJob } from '../workers/jobs.ts';
import type { ProjectContext } from './context.ts';

/** Returns the layers of an image for a thread, valid while the store is held. */
export async function layersOf(store: ProjectStore, image: string): Promise<ImageLayers> {
  const { uuid, layers } = store.images.resolve(image);
  return { uuid, layers: await store.layers.files(layers) };
}

/** Streams from a thread; the store is held while the stream is read, and not before or after. */
export async function* streamed(
  { store, parts }: ProjectContext,
  job: () => Promise<StreamJob>,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array> {
  using _hold = store.hold();
  yield* parts.threads.stream(store.project, await job(), signal);
}
