import type { Database } from '../database.ts';

export interface DropRequest {
  /** Bytes of layers to be freed. */
  readonly excess: number;
  readonly madeBeforeMs: number;
  readonly usedBy: (image: string) => string | undefined;
}

interface Candidate {
  readonly uuid: string;
  readonly parent: string | null;
  readonly tagged: number;
  readonly created_at: number;
}

/**
 * Returns the untagged images to delete until enough bytes are free, children before parents. The oldest leaf comes
 * first; a parent becomes a leaf when its last child is gone, and is then the oldest. It works on counts in memory
 * instead of a query per image.
 */
export function imagesToDrop(database: Database, { excess, madeBeforeMs, usedBy }: DropRequest): string[] {
  const images = database.all<Candidate>(
    `SELECT uuid, parent, created_at, uuid IN (SELECT image FROM tags) AS tagged FROM images ORDER BY created_at, rowid`,
  );
  const byUuid = new Map(images.map((image) => [image.uuid, image]));
  const children = new Map<string, number>();
  for (const { parent } of images) if (parent !== null) children.set(parent, (children.get(parent) ?? 0) + 1);
  const layers = new LayerCounts(database);
  const dropped = new Set<string>();
  const mayGo = ({ uuid, tagged, created_at }: Candidate): boolean =>
    tagged === 0 &&
    created_at < madeBeforeMs &&
    (children.get(uuid) ?? 0) === 0 &&
    !dropped.has(uuid) &&
    usedBy(uuid) === undefined;
  for (const oldest of images) {
    let next: Candidate | undefined = oldest;
    while (next !== undefined && layers.freedBytes < excess && mayGo(next)) {
      dropped.add(next.uuid);
      layers.drop(next.uuid);
      const parent: Candidate | undefined = byUuid.get(next.parent ?? '');
      if (parent !== undefined) children.set(parent.uuid, (children.get(parent.uuid) ?? 1) - 1);
      next = parent;
    }
  }
  return [...dropped];
}

/** Number of images that need each layer, and the space freed when some of them are deleted. */
class LayerCounts {
  freedBytes = 0;
  readonly #layersOf = new Map<string, { readonly layer: string; readonly bytes: number }[]>();
  readonly #users = new Map<string, number>();

  constructor(database: Database) {
    const rows = database.all<{ image: string; layer: string; bytes: number }>(
      'SELECT DISTINCT image, layer, bytes FROM image_layers JOIN layers ON digest = layer',
    );
    for (const { image, layer, bytes } of rows) {
      const layers = this.#layersOf.get(image) ?? [];
      layers.push({ layer, bytes });
      this.#layersOf.set(image, layers);
      this.#users.set(layer, (this.#users.get(layer) ?? 0) + 1);
    }
  }

  drop(image: string): void {
    for (const { layer, bytes } of this.#layersOf.get(image) ?? []) {
      const users = (this.#users.get(layer) ?? 1) - 1;
      this.#users.set(layer, users);
      if (users === 0) this.freedBytes += bytes;
    }
  }
}
