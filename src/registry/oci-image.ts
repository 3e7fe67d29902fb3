import type { ImageConfig } from '../contract/image.ts';
import type { Digest } from './digest.ts';
import type { OciReference } from './reference.ts';

/** One layer of an OCI image from any source. */
export interface OciLayer {
  /** Digest of the bytes that `open` yields; the diffID where a source states no digest. */
  readonly digest: Digest;
  /** Digest of the uncompressed tar; unknown only for a compressed root file system archive. */
  readonly diffId: Digest | undefined;
  readonly mediaType: string;
  /** Length of the bytes that `open` yields. */
  readonly bytes: number;
  /**
   * Streams the layer's bytes in their stored compression. A digest stated by the source is verified: only a reader
   * that reached the end without an error has the right bytes. It may be called repeatedly. Faults: DIGEST_MISMATCH,
   * those of the source.
   */
  open(signal: AbortSignal): AsyncIterable<Uint8Array>;
}

/** One step in the history of an OCI image (image-spec, config.md). */
export interface OciHistory {
  readonly created?: string | undefined;
  readonly created_by?: string | undefined;
  readonly author?: string | undefined;
  readonly comment?: string | undefined;
  /** True when the step made no layer. */
  readonly empty_layer?: boolean | undefined;
}

/** OCI image whose manifest and config have been read and verified; its layers are read on demand. */
export interface OciImage {
  /** Normalized reference, or the name inside an archive. */
  readonly reference: string;
  /** Digest of the index or manifest that the reference points to now. Equal digests mean the same image. */
  readonly digest: Digest;
  readonly config: ImageConfig;
  readonly history: readonly OciHistory[];
  /** Names of parts of the configuration that cannot be used and were left out. */
  readonly leftOut: readonly string[];
  /** Layers, bottom first. */
  readonly layers: readonly OciLayer[];
  /** Repository that has the layers, each under its `digest`; undefined for an archive. */
  readonly origin: Pick<OciReference, 'registry' | 'repository'> | undefined;
}
