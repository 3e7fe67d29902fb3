import { randomUUID } from 'node:crypto';
import { defined } from '../../std/assert.ts';
import { present } from '../../std/present.ts';
import type { NewImage } from '../../store/images.ts';
import type { ProjectStore } from '../../store/project-store.ts';
import type { Catalogue, ImageToShare, LayerToShare, Publication, RecordedUse, SharedIdentity } from './catalogue.ts';

/** Image and tag that a result makes visible. */
export interface Planned {
  /** Image that it makes, or the UUID of one that exists; absent where it has none. */
  readonly image?: NewImage | string;
  readonly tag?: string;
  readonly imageBytes?: number;
  /** Present where an equal run may be given this result. */
  readonly recorded?: RecordedUse;
}

/** Operation on whose behalf something is published. */
export type Announcement = Pick<Publication, 'kind' | 'operation' | 'outcome'>;

/**
 * Publishes in the catalogue what is planned, and returns the name and the time that it has there. The caller holds the
 * store. Rejects with the faults of the catalogue and STORE_CORRUPT.
 */
export async function announce(
  { catalogue, store }: { readonly catalogue: Catalogue; readonly store: ProjectStore },
  { image, tag, imageBytes, recorded }: Planned,
  announcement: Announcement,
  signal: AbortSignal,
): Promise<SharedIdentity> {
  const isMade = typeof image === 'object';
  const uuid = isMade ? randomUUID() : image;
  const publication: Publication = {
    ...announcement,
    project: store.project,
    ...(uuid !== undefined && { image: { uuid, ...(isMade && { made: await toShare(store, image) }) } }),
    ...present({ tag, imageBytes, recorded }),
  };
  const published = await catalogue.publish(publication, signal);
  return { uuid: published.image ?? uuid ?? '', createdAtMs: published.atMs ?? Date.now() };
}

async function toShare(store: ProjectStore, image: NewImage): Promise<ImageToShare> {
  const { parent = null, command = null, exitCode = null, layerBytes = null, config } = image;
  const layers = await Promise.all(image.layers.map((digest) => layerToShare(store, digest)));
  return { parent, command, exitCode, layerBytes, config, layers };
}

/** Returns a layer with its file. Rejects with STORE_CORRUPT. */
export async function layerToShare(store: ProjectStore, digest: string): Promise<LayerToShare> {
  const { path } = await store.layers.file(digest);
  return { ...defined(store.layers.find(digest), 'a layer whose file is whole is published'), path };
}
