import type { ImageConfig } from '../../contract/image.ts';
import type { NewImage } from '../../store/images.ts';
import type { Layer } from '../../store/layers.ts';
import type { OperationOutcome } from '../../store/operations.ts';

/** Layer of the store with its file. */
export interface LayerToShare extends Layer {
  /** Path of the file, which is whole. */
  readonly path: string;
}

/** Image that an operation makes. */
export interface ImageToShare {
  readonly parent: string | null;
  /** Command that made it; null for a root image. */
  readonly command: string | null;
  readonly exitCode: number | null;
  /** Bytes that it adds to its parent. */
  readonly layerBytes: number | null;
  readonly config: ImageConfig;
  /** Bottom first; held until the publication is over. */
  readonly layers: readonly LayerToShare[];
}

/** Sandbox that ran a command which an equal run need not repeat, and its use of the network. */
export interface RecordedUse {
  readonly sandbox: string;
  readonly network: boolean;
}

/** Things that an operation is about to make visible. */
export interface Publication {
  /**
   * `step`: an image that a build makes on its way. `result`: an image that stays the result of an operation that goes on.
   * `end`: the successful end of an operation.
   */
  readonly kind: 'step' | 'result' | 'end';
  readonly project: string;
  /** UUID of the operation. */
  readonly operation: string;
  /** Absent where the operation has no image. */
  readonly image?: {
    /** UUID of an image that exists, or proposed for the one that is made. */
    readonly uuid: string;
    readonly made?: ImageToShare;
  };
  /** Tag to point at the image. */
  readonly tag?: string;
  readonly imageBytes?: number;
  /** Present at the `end` of a run whose result an equal run may be given. */
  readonly recorded?: RecordedUse;
  /** Absent for a `step`. */
  readonly outcome?: OperationOutcome;
}

/** Terms under which the catalogue has published something. */
export interface Published {
  /** Image to be used instead of the proposed one: an equal root image that is in the catalogue already, and adopted here. */
  readonly image?: string;
  /** Time of the image and of the end (ms since 1970), the same for every node; default: this node's clock. */
  readonly atMs?: number;
}

/**
 * Catalogue of a cluster, in which everything is published before it is visible here. An engine without one publishes for
 * itself alone.
 */
export interface Catalogue {
  /**
   * Notes durably that an operation begins, before anything of it has an effect. When it rejects nothing begins, and the
   * operation ends with that fault.
   */
  begin(operation: Pick<Publication, 'project' | 'operation'>, signal: AbortSignal): Promise<void>;
  /**
   * Publishes an image, a tag and the end of an operation. When it rejects nothing becomes visible, and the operation ends
   * with that fault. When it resolves all of it is a fact, and is recorded here even if the operation was cancelled
   * meanwhile: then the signal is aborted, and it rejects only if it has published nothing.
   */
  publish(publication: Publication, signal: AbortSignal): Promise<Published>;
  /**
   * Returns the UUID of the image that a tag or a UUID names, which is adopted here from then on; undefined when there is
   * none. The caller holds the store.
   */
  resolve(project: string, source: string, signal: AbortSignal): Promise<string | undefined>;
}

/** Name and time that the catalogue has given an image, and the operation that ends with it. */
export type SharedIdentity = NonNullable<NewImage['shared']>;
