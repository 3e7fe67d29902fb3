import type { Database } from './database.ts';

/** Where in an image a layer lies: the same files over others may be another OCI layer. */
export interface LayerPlace {
  /** OCI chainID (`sha256:<hex>`) of everything below; undefined for the bottom layer. */
  readonly below: string | undefined;
  /** Digest (hex) of the layer. */
  readonly layer: string;
}

/** A blob that a registry keeps: an OCI layer as it is transferred. */
export interface LayerBlob {
  /** Of the blob. */
  readonly digest: `sha256:${string}`;
  /** Of its uncompressed tar. */
  readonly diffId: `sha256:${string}`;
  readonly mediaType: string;
  readonly bytes: number;
  /** Canonical name of the registry that had it last. */
  readonly registry: string;
  readonly repository: string;
}

interface BlobRow extends Omit<LayerBlob, 'diffId' | 'mediaType'> {
  readonly diff_id: LayerBlob['diffId'];
  readonly media_type: string;
}

/**
 * The blobs that layers came from or were pushed as, so that a registry that has one need not be sent another with the
 * same files. Of one project, because a blob's name can be a right to it. A row goes with its layer.
 */
export class BlobStore {
  readonly #database: Database;
  readonly #project: string;

  constructor(database: Database, project: string) {
    this.#database = database;
    this.#project = project;
  }

  /** What this layer is called at registries in this place, what is known for longest first: few, as a rule at most two. */
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

  /** Notes a blob whose bytes we have read or written ourselves, and the repository that has it now. */
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
