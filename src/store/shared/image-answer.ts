import { createHash } from 'node:crypto';
import type { Image, LineageNode } from '../../contract/image.ts';
import { limits } from '../../contract/limits.ts';
import { assert } from '../../std/assert.ts';

/** Facts about an image that the API shows, as stores have them. */
export interface ImageFacts {
  readonly uuid: string;
  readonly parent: string | null;
  readonly operation: string | null;
  readonly command: string | null;
  readonly exit_code: number | null;
  readonly layer_bytes: number | null;
}

/** Returns an image as a node of a lineage. */
export function lineageNode(
  row: ImageFacts,
  { tags, createdAtMs }: { readonly tags: readonly string[]; readonly createdAtMs: number },
): LineageNode {
  return {
    uuid: row.uuid,
    parent_uuid: row.parent,
    tags: [...tags],
    created_at: new Date(createdAtMs).toISOString(),
    operation_uuid: row.operation,
    command: row.command ?? (row.parent === null ? 'import' : null),
    exit_code: row.exit_code,
    layer_bytes: row.layer_bytes,
  };
}

/** Returns an image as lists show it, with one of its tags. */
export function listedImage({ command, ...rest }: LineageNode, tag: string | null): Image {
  // Long commands are cut in lists; lineage and operation have the whole command.
  return { ...rest, tag, command: command === null ? null : command.slice(0, limits.commandCharactersListed) };
}

/** Returns the key of an image's content: equal for equal layers (digests, bottom first) and configuration (JSON). */
export function contentKey(layers: readonly string[], config: string): string {
  assert(
    layers.every((layer) => layer.length === 64),
    'layers are sha256 digests',
  );
  return createHash('sha256')
    .update(`${layers.join(' ')}\n${config}`)
    .digest('hex');
}
