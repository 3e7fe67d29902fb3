import type { ImageConfig } from '../../contract/image.ts';
import { present } from '../../std/present.ts';
import type { NewImage, StoredImage } from '../../store/images.ts';
import type { Layer } from '../../store/layers.ts';
import type { Planned } from '../node/announce.ts';
import type { OperationContext, WorkResult } from '../work.ts';
import type { RunPlace } from './session.ts';

/** Image that an operation adds to another. */
export interface Addition {
  readonly parent: StoredImage;
  /** Layers over those of the parent, bottom first. */
  readonly added: readonly Layer[];
  readonly config: ImageConfig;
  /** Command as shown in the lineage. */
  readonly command: string;
  readonly exitCode?: number | undefined;
  readonly tag?: string | undefined;
}

/**
 * Returns what becomes visible at the end of an operation; nothing can fail any more. Without a change it is the parent
 * itself.
 */
export function publication(
  { store, compactor }: Pick<RunPlace, 'store' | 'compactor'>,
  context: Pick<OperationContext, 'uuid'>,
  { parent, added, config, command, exitCode, tag }: Addition,
): WorkResult {
  const named = (image: string): { image: string; tag?: string } => {
    if (tag !== undefined) store.tags.set(tag, image);
    return { image, ...present({ tag }) };
  };
  const sameConfig = JSON.stringify(config) === JSON.stringify(parent.config);
  if (added.length === 0 && sameConfig) {
    const planned = (): Planned => ({ image: parent.uuid, ...present({ tag }) });
    return { planned, publish: () => named(parent.uuid), durable: tag !== undefined };
  }
  const layerBytes = added.reduce((sum, { bytes }) => sum + bytes, 0);
  const made = { config, parent: parent.uuid, operation: context.uuid, command, ...present({ exitCode }), layerBytes };
  // The parent's current layers: they may have been merged meanwhile, which does not change the content.
  const image = (): NewImage => {
    const layers = [...store.images.get(parent.uuid).layers, ...added.map(({ digest }) => digest)];
    return { ...made, layers };
  };
  const publish: WorkResult['publish'] = (shared) => {
    const { uuid } = store.images.create({ ...image(), ...present({ shared }) });
    return { ...named(uuid), imageBytes: layerBytes };
  };
  const planned = (): Planned => ({ image: image(), imageBytes: layerBytes, ...present({ tag }) });
  return { planned, publish, durable: true, published: (uuid) => compactor.schedule(uuid) };
}
