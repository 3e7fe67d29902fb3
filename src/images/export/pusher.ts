import type { ImagePushRequest, PushProgress } from '../../contract/image.ts';
import type { RegistrySettings } from '../../registry/client.ts';
import type { ProjectStore } from '../../store/project-store.ts';
import { type AccountPlaces, credentialsFor } from '../accounts.ts';
import type { ExportRequest } from './oci-layout.ts';
import { pushImage, type Pushed } from './push.ts';

export interface PusherOptions {
  readonly registries: RegistrySettings;
  readonly credentials: AccountPlaces;
}

/** Context of a push. */
export interface PusherContext {
  readonly store: Pick<ProjectStore, 'project' | 'tmp' | 'blobs'>;
  readonly onProgress: (progress: PushProgress) => void;
  /** True when a request that names a registry on a loopback or private address permits that address. */
  readonly privateByName: boolean;
}

/** Pusher of images with the settings of this installation. */
export class Pusher {
  readonly #options: PusherOptions;

  constructor(options: PusherOptions) {
    this.#options = options;
  }

  /** Pushes an image. Faults: those of `pushImage`. */
  push(
    image: ExportRequest,
    { registry: { url, credentials: given } }: ImagePushRequest,
    { store, onProgress, privateByName }: PusherContext,
    signal: AbortSignal,
  ): Promise<Pushed> {
    const { credentials: places } = this.#options;
    const registries = { ...this.#options.registries, privateByName };
    const credentials = credentialsFor(places, store.project, given);
    const { tmp, blobs } = store;
    return pushImage(image, url, { registries, credentials, tmp, blobs, onProgress }, signal);
  }
}
