import { closestOf } from '../../contract/closest.ts';
import { fault } from '../../contract/errors.ts';
import { ImageConfig, type Image, type ImageQuery, type Lineage, type LineageNode } from '../../contract/image.ts';
import { limits } from '../../contract/limits.ts';
import { isTag, isUuid } from '../../contract/names.ts';
import { defined } from '../../std/assert.ts';
import type { Layer } from '../../store/layers.ts';
import { contentKey, type ImageFacts, lineageNode, listedImage } from '../../store/shared/image-answer.ts';
import type { SharedAncestor } from '../../store/shared/images.ts';
import type { ClusterDatabase, Sql, SqlValue } from './database.ts';
import { epochMs, parsed } from './values.ts';

/** An image of the cluster; it never changes. */
export interface CatalogueImage extends SharedAncestor {
  readonly parent: string | null;
  /** Its layers, bottom first; a digest is also the name in the object storage. */
  readonly layers: readonly Layer[];
}

interface ImageRow extends ImageFacts {
  readonly config: string;
  readonly created_ms: number;
  readonly tags: readonly string[];
}

/** Names that an unknown one is compared with, and those that are shown. */
const COMPARED_MAX = 200;
const SHOWN_MAX = 3;

const COLUMNS = `images.uuid, images.parent, images.operation, images.command, images.exit_code,
  images.layer_bytes::float8 AS layer_bytes, images.config, ${epochMs('images.created_at')} AS created_ms,
  ARRAY(SELECT name FROM tags WHERE tags.image = images.uuid ORDER BY tags.id DESC) AS tags`;

/** Images and tags of one project of a cluster: the answers of `ImageStore` and `TagStore`, for all nodes. */
export class CatalogueImages {
  readonly #database: ClusterDatabase;
  readonly #project: string;

  constructor(database: ClusterDatabase, project: string) {
    this.#database = database;
    this.#project = project;
  }

  /** Returns the UUID of an image given as UUID or `tag:NAME`. Faults: IMAGE_NOT_FOUND. */
  async resolve(source: string): Promise<string> {
    if (!source.startsWith('tag:')) {
      if (!isUuid(source)) throw await this.#notFound(source, source);
      const statement = 'SELECT uuid FROM images WHERE uuid = $1 AND project = $2';
      const [row] = await this.#database.rows<{ uuid: string }>(statement, source.toLowerCase(), this.#project);
      if (row === undefined) throw fault('IMAGE_NOT_FOUND', { image: source });
      return row.uuid;
    }
    const name = source.slice('tag:'.length);
    const statement = 'SELECT image FROM tags WHERE project = $1 AND name = $2';
    const [row] = await this.#database.rows<{ image: string }>(statement, this.#project, name);
    if (row === undefined) throw await this.#notFound(source, name);
    return row.image;
  }

  /** Returns an image with its layers. Faults: IMAGE_NOT_FOUND. */
  async get(source: string): Promise<CatalogueImage> {
    const name = source.startsWith('tag:') ? source.slice('tag:'.length) : undefined;
    if (name === undefined && !isUuid(source)) throw await this.#notFound(source, source);
    const [row] = await this.#database.rows<ImageRow & { layers: Layer[] }>(
      `SELECT ${COLUMNS}, (
         SELECT json_agg(json_build_object('digest', digest, 'bytes', bytes, 'entries', entries)
           ORDER BY position) FROM image_layers JOIN layers ON layer = digest WHERE image = images.uuid
       ) AS layers FROM images WHERE project = $2 AND uuid = ${
         name === undefined ? '$1' : '(SELECT image FROM tags WHERE tags.project = $2 AND name = $1)'
       }`,
      name ?? source.toLowerCase(),
      this.#project,
    );
    if (row !== undefined) return { ...imageOf(row), layers: row.layers ?? [] };
    throw name === undefined ? fault('IMAGE_NOT_FOUND', { image: source }) : await this.#notFound(source, name);
  }

  /** Lists images as `ImageStore.list` does: newest first, or one entry for each tag that the filter accepts. */
  async list(query: ImageQuery): Promise<Image[]> {
    const byTag = query.tag !== undefined || query.tagged === true;
    const values: SqlValue[] = [this.#project, query.tag ?? ''];
    const conditions = ['images.project = $1', `$2 = $2::text`];
    const add = (condition: string, value: SqlValue): void => {
      values.push(value);
      conditions.push(condition.replace('?', `$${values.length}`));
    };
    if (byTag) conditions.push('starts_with(name, $2)');
    if (query.uuid !== undefined) add('uuid = ?', query.uuid.toLowerCase());
    if (query.since !== undefined) add('created_at >= ?', query.since.toISOString());
    if (query.until !== undefined) add('created_at <= ?', query.until.toISOString());
    values.push(query.limit ?? limits.pageDefault, query.offset ?? 0);
    const rows = await this.#database.rows<ImageRow & { shown: string | null }>(
      `SELECT ${COLUMNS}, name AS shown FROM images ${byTag ? '' : 'LEFT'} JOIN tags ON image = uuid
         ${byTag ? '' : 'AND tags.id = (SELECT max(newest.id) FROM tags AS newest WHERE newest.image = images.uuid)'}
       WHERE ${conditions.join(' AND ')}
       ORDER BY (name IS NOT DISTINCT FROM $2) DESC, images.id DESC, tags.id DESC
       LIMIT $${values.length - 1} OFFSET $${values.length}`,
      ...values,
    );
    return rows.map((row) => wire(row, row.shown));
  }

  /** Returns an image as in the API, with its newest tag. Faults: IMAGE_NOT_FOUND. */
  async describe(uuid: string): Promise<Image> {
    const row = await this.#row(uuid);
    return wire(row, row.tags[0] ?? null);
  }

  /** Returns an image with its ancestors and children. Faults: IMAGE_NOT_FOUND. */
  async lineage(uuid: string): Promise<Lineage> {
    await this.#row(uuid);
    const line = await this.#database.rows<ImageRow>(
      `WITH RECURSIVE line (uuid, depth) AS (
         SELECT $1::uuid, 0 UNION ALL
         SELECT images.parent, depth + 1 FROM line JOIN images USING (uuid) WHERE parent IS NOT NULL
       ) SELECT ${COLUMNS} FROM line JOIN images USING (uuid) ORDER BY depth`,
      uuid,
    );
    const [image, ...ancestors] = line.map(node);
    const children = await this.#database.rows<ImageRow>(
      `SELECT ${COLUMNS} FROM images WHERE parent = $1 ORDER BY id`,
      uuid,
    );
    const self = defined(image, 'a line starts with the image itself');
    return { image: self, ancestors, children: children.map(node), root: ancestors.at(-1)?.uuid ?? self.uuid };
  }

  /** Returns the ancestors of an image, its parent first, without their layers. */
  async ancestors(uuid: string): Promise<Omit<CatalogueImage, 'layers'>[]> {
    const rows = await this.#database.rows<ImageRow>(
      `WITH RECURSIVE line (uuid, depth) AS (
         SELECT parent, 1 FROM images WHERE images.uuid = $1 UNION ALL
         SELECT images.parent, depth + 1 FROM line JOIN images USING (uuid)
       ) SELECT ${COLUMNS} FROM line JOIN images USING (uuid) ORDER BY depth`,
      uuid,
    );
    return rows.map(imageOf);
  }

  /** Points a tag at an image, moving it if it exists. Faults: TAG_INVALID, IMAGE_NOT_FOUND. */
  async tag(image: string, name: string): Promise<void> {
    if (!isTag(name)) throw fault('TAG_INVALID', { tag: name });
    await this.#database.transaction(async (sql) => {
      const held = 'SELECT 1 FROM images WHERE uuid = $1 AND project = $2 FOR KEY SHARE';
      if ((await sql.run(held, image, this.#project)) === 0) throw fault('IMAGE_NOT_FOUND', { image });
      await setTag(sql, { project: this.#project, name, image });
    });
  }

  /** Removes one tag of an image, or all. Faults: TAG_NOT_FOUND. */
  async untag(image: string, name: string | undefined): Promise<void> {
    const removed = await this.#database.run(
      'DELETE FROM tags WHERE project = $1 AND image = $2 AND ($3::text IS NULL OR name = $3)',
      this.#project,
      image,
      name ?? null,
    );
    if (name !== undefined && removed === 0) throw fault('TAG_NOT_FOUND', { tag: name });
  }

  /** Returns the tags of an image, newest first. */
  async tagsOf(image: string): Promise<readonly string[]> {
    return (await this.#row(image)).tags;
  }

  /**
   * Deletes an image and, with `cascade`, everything made from it. Returns the deleted images, children first. Faults:
   * IMAGE_NOT_FOUND, IMAGE_IN_USE.
   */
  async delete(uuid: string, { cascade }: { readonly cascade: boolean }): Promise<string[]> {
    return this.#database.transaction(async (sql) => {
      const doomed = await sql.rows<{ uuid: string }>(
        `WITH RECURSIVE tree (uuid, depth) AS (
           SELECT uuid, 0 FROM images WHERE uuid = $1 AND project = $2 UNION ALL
           SELECT images.uuid, depth + 1 FROM tree JOIN images ON images.parent = tree.uuid
         ) SELECT uuid FROM tree ORDER BY depth DESC`,
        uuid,
        this.#project,
      );
      if (doomed.length === 0) throw fault('IMAGE_NOT_FOUND', { image: uuid });
      if (doomed.length > 1 && !cascade) {
        const count = doomed.length - 1;
        throw fault('IMAGE_IN_USE', { image: uuid, by: `${count} image${count === 1 ? '' : 's'} made from it` });
      }
      const ids = doomed.map((one) => one.uuid);
      // Locked before its users are looked for: an operation is accepted with a lock on its image that excludes this one.
      await sql.rows('SELECT uuid FROM images WHERE uuid = ANY ($1::uuid[]) FOR UPDATE', ids);
      const [user] = await sql.rows<{ uuid: string; image: string }>(
        `SELECT uuid, coalesce(image, result_image) AS image FROM operations
          WHERE finished_at IS NULL AND (image = ANY ($1::uuid[]) OR result_image = ANY ($1::uuid[])) LIMIT 1`,
        ids,
      );
      if (user !== undefined) throw fault('IMAGE_IN_USE', { image: user.image, by: `operation ${user.uuid}` });
      await sql.run('DELETE FROM tags WHERE image = ANY ($1::uuid[])', ids);
      // One after another, children first: a child made meanwhile keeps its parent.
      for (const id of ids) await sql.run('DELETE FROM images WHERE uuid = $1', id);
      return ids;
    });
  }

  async #row(uuid: string): Promise<ImageRow> {
    const statement = `SELECT ${COLUMNS} FROM images WHERE uuid = $1 AND project = $2`;
    const [row] = await this.#database.rows<ImageRow>(statement, uuid, this.#project);
    if (row === undefined) throw fault('IMAGE_NOT_FOUND', { image: uuid });
    return row;
  }

  async #notFound(source: string, name: string): Promise<Error> {
    const closest = isTag(name) ? await this.#closest(name) : [];
    return fault('IMAGE_NOT_FOUND', {
      image: source,
      ...(closest.length > 0 && { closest: closest.map((tag) => `tag:${tag}`).join(', ') }),
    });
  }

  /** Returns up to three tags that resemble an unknown name. */
  async #closest(name: string): Promise<string[]> {
    const newest = await this.#database.rows<{ name: string }>(
      'SELECT name FROM tags WHERE project = $1 ORDER BY id DESC LIMIT $2',
      this.#project,
      COMPARED_MAX,
    );
    const first = name.split(/[:/.]/u, 1)[0] ?? name;
    const related = await this.#database.rows<{ name: string }>(
      `SELECT name FROM tags WHERE project = $1
         AND (strpos(name, $2) > 0 OR strpos($2, name) > 0 OR starts_with(name, $3))
       ORDER BY strpos(name, $2) = 0, id DESC LIMIT ${SHOWN_MAX}`,
      this.#project,
      name,
      first,
    );
    const misspelt = closestOf(
      name,
      newest.map((row) => row.name),
    );
    return [...new Set([...misspelt, ...related.map((row) => row.name)])].slice(0, SHOWN_MAX);
  }
}

/** Points a tag at an image that exists, in a transaction; it becomes the image's newest tag. */
export async function setTag(
  sql: Sql,
  { project, name, image }: { readonly project: string; readonly name: string; readonly image: string },
): Promise<void> {
  await sql.run(
    `INSERT INTO tags (project, name, image) VALUES ($1, $2, $3)
     ON CONFLICT (project, name) DO UPDATE SET image = excluded.image, id = DEFAULT`,
    project,
    name,
    image,
  );
}

/**
 * Inserts an image whose layers are in the object storage, in the transaction that publishes it. Returns its time, ms since
 * 1970.
 */
export async function insertImage(
  sql: Sql,
  project: string,
  image: Omit<CatalogueImage, 'createdAtMs'>,
): Promise<number> {
  const [row] = await sql.rows<{ created_ms: number }>(
    `INSERT INTO images (uuid, project, parent, operation, command, exit_code, layer_bytes, config, content)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING ${epochMs('created_at')} AS created_ms`,
    image.uuid,
    project,
    image.parent,
    image.operation,
    image.command,
    image.exitCode,
    image.layerBytes,
    JSON.stringify(image.config),
    imageContentKey(image),
  );
  await sql.run(
    `INSERT INTO image_layers (image, position, layer)
     SELECT $1, place - 1, digest FROM unnest($2::text[]) WITH ORDINALITY AS listed (digest, place)`,
    image.uuid,
    image.layers.map(({ digest }) => digest),
  );
  return defined(row, 'an insert returns its row').created_ms;
}

/** Returns the UUID of a root image with exactly these layers and this configuration, if there is one. */
export async function findRoot(
  sql: Sql,
  project: string,
  image: Pick<CatalogueImage, 'layers' | 'config'>,
): Promise<string | undefined> {
  const [row] = await sql.rows<{ uuid: string }>(
    'SELECT uuid FROM images WHERE project = $1 AND content = $2 AND parent IS NULL ORDER BY id DESC LIMIT 1 FOR KEY SHARE',
    project,
    imageContentKey(image),
  );
  return row?.uuid;
}

/** Returns the key of an image's layers and configuration, equal for equal ones. */
export function imageContentKey({
  layers,
  config,
}: Pick<CatalogueImage, 'config'> & { readonly layers: readonly Pick<Layer, 'digest'>[] }): string {
  return contentKey(
    layers.map(({ digest }) => digest),
    JSON.stringify(config),
  );
}

function imageOf(row: ImageRow): Omit<CatalogueImage, 'layers'> {
  return {
    uuid: row.uuid,
    parent: row.parent,
    operation: row.operation,
    command: row.command,
    exitCode: row.exit_code,
    layerBytes: row.layer_bytes,
    config: parsed(ImageConfig, row.config, `configuration of image ${row.uuid}`),
    createdAtMs: row.created_ms,
  };
}

function wire(row: ImageRow, tag: string | null): Image {
  return listedImage(node(row), tag);
}

function node(row: ImageRow): LineageNode {
  return lineageNode(row, { tags: row.tags, createdAtMs: row.created_ms });
}
