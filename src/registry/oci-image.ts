import type { ImageConfig } from '../contract/image.ts';
import type { Digest } from './digest.ts';
import type { OciReference } from './reference.ts';

/** One layer of an OCI image, wherever it comes from. */
export interface OciLayer {
  /** Of the bytes as `open` yields them; where a source does not state one, the diffID stands here. */
  readonly digest: Digest;
  /** Of the uncompressed tar. Only a compressed root filesystem archive does not say. */
  readonly diffId: Digest | undefined;
  readonly mediaType: string;
  /** Length of the bytes as `open` yields them. */
  readonly bytes: number;
  /**
   * The layer's bytes, compressed as they are stored. A digest that the source states is checked along the way: a reader
   * that got to the end without an error has the right bytes; what it read before is not to be believed yet. May be
   * opened again.
   * Faults: DIGEST_MISMATCH, those of the source.
   */
  open(signal: AbortSignal): AsyncIterable<Uint8Array>;
}

/** A step of an OCI image's making (image-spec, config.md). */
export interface OciHistory {
  readonly created?: string | undefined;
  readonly created_by?: string | undefined;
  readonly author?: string | undefined;
  readonly comment?: string | undefined;
  /** The step made no layer. */
  readonly empty_layer?: boolean | undefined;
}

/** An OCI image whose manifest and config have been read and checked; its layers are read when they are needed. */
export interface OciImage {
  /** Normalised reference, or the name inside an archive. */
  readonly reference: string;
  /** What the reference stands for now: digest of the index or manifest. Equal digests mean the same image. */
  readonly digest: Digest;
  readonly config: ImageConfig;
  readonly history: readonly OciHistory[];
  /** Bottom first. */
  readonly layers: readonly OciLayer[];
  /** The repository that has the layers, each under its `digest`. Undefined for an archive. */
  readonly origin: Pick<OciReference, 'registry' | 'repository'> | undefined;
}
