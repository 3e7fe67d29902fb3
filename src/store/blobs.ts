import type { Database } from './database.ts';

/** Position of a layer in an image: the same files on top of other layers may be another OCI layer. */
export interface LayerPlace {
  /** OCI chainID (`sha256:<hex>`) of everything below; undefined for the bottom layer. */
  readonly below: string | undefined;
  /** Digest (hex) of the layer. */
  readonly layer: string;
}

/** Blob at a registry: an OCI layer in its transferred form. */
export interface LayerBlob {
  /** Digest of the blob. */
  readonly digest: `sha256:${string}`;
  /** Digest of its uncompressed tar. */
  readonly diffId: `sha256:${string}`;
  readonly mediaType: string;
  readonly bytes: number;
  /** Canonical name of the registry that last had it. */
  readonly registry: string;
  readonly repository: string;
}

interface BlobRow extends Omit<LayerBlob, 'diffId' | 'mediaType'> {
  readonly diff_id: LayerBlob['diffId'];
  readonly media_type: string;
}

/**
 * Blobs that layers were imported from or pushed as, so that a registry that has one is not sent another with the same
 * files. They belong to one project, because knowing a blob's name may grant access to it. A row is deleted with its
 * layer.
 */
export class BlobStore {
  readonly #database: Database;
  readonly #project: string;

  constructor(database: Database, project: string) {
    this.#database = database;
    this.#project = project;
  }

  /**
   * Returns the blobs of this layer in this place, oldest first; usually at most two.
   */
  find({ below, layer }: LayerPlace): LayerBlob[] {
    return this.#database
      .all<BlobRow>(
        `SELECT digest, diff_id, media_type, bytes, registry, repository FROM layer_blobs
         WHERE project = ? AND below = ? AND layer = ? ORDER BY id LIMIT 8`,
        this.#project,
        below ?? '',
        layer,
      )
      .map(({ diff_id: diffId, media_type: mediaType, ...row }) => ({ ...row, diffId, mediaType }));
  }

  /** Records a blob whose bytes we have read or written ourselves, and the repository that has it now. */
  remember({ below, layer }: LayerPlace, blob: LayerBlob): void {
    this.#database.run(
      `INSERT INTO layer_blobs (project, below, layer, digest, diff_id, media_type, bytes, registry, repository)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (project, below, layer, digest)
       DO UPDATE SET registry = excluded.registry, repository = excluded.repository`,
      this.#project,
      below ?? '',
      layer,
      blob.digest,
      blob.diffId,
      blob.mediaType,
      blob.bytes,
      blob.registry,
      blob.repository,
    );
  }
}
