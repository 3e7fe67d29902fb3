import type { Database } from '../database.ts';
import { LayerCounts } from './layer-counts.ts';

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
  /** 1 when a cluster's catalogue has it: that says when it goes. */
  readonly shared: number;
  readonly created_at: number;
}

/**
 * Returns the untagged images to delete until enough bytes are free, children before parents. The oldest leaf comes
 * first; a parent becomes a leaf when its last child is gone, and is then the oldest. It works on counts in memory
 * instead of a query per image.
 */
export function imagesToDrop(database: Database, { excess, madeBeforeMs, usedBy }: DropRequest): string[] {
  const images = database.all<Candidate>(
    `SELECT uuid, parent, created_at, uuid IN (SELECT image FROM tags) AS tagged,
       shared_used_at IS NOT NULL AS shared FROM images ORDER BY created_at, rowid`,
  );
  const byUuid = new Map(images.map((image) => [image.uuid, image]));
  const children = new Map<string, number>();
  for (const { parent } of images) if (parent !== null) children.set(parent, (children.get(parent) ?? 0) + 1);
  const layers = new LayerCounts(database);
  const dropped = new Set<string>();
  const mayGo = ({ uuid, tagged, shared, created_at }: Candidate): boolean =>
    tagged === 0 &&
    shared === 0 &&
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
