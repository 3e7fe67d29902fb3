import { randomUUID } from 'node:crypto';
import { fault } from '../contract/errors.ts';
import { ImageConfig, type Image, type ImageQuery, type Lineage, type LineageNode } from '../contract/image.ts';
import { isTag, isUuid } from '../contract/names.ts';
import { limits } from '../contract/limits.ts';
import { defined } from '../std/assert.ts';
import { Conditions, parseColumn, type Database } from './database.ts';
import type { Holds } from './gc/holds.ts';
import type { StoreParts } from './parts.ts';
import { contentKey, type ImageFacts, lineageNode, listedImage } from './shared/image-answer.ts';
import type { StackStore } from './stacks.ts';
import type { TagStore } from './tags.ts';

export interface NewImage {
  /** Digests of published layers, bottom first. */
  readonly layers: readonly string[];
  readonly config: ImageConfig;
  /** Parent; absent for a root image. */
  readonly parent?: string;
  /** Operation that creates it. */
  readonly operation?: string;
  /** Command that produced it; absent for a root image. */
  readonly command?: string;
  readonly exitCode?: number;
  /** Bytes it adds to its parent. */
  readonly layerBytes?: number;
  /** Name and time that a cluster's catalogue has for it; by default it is this store's own image. */
  readonly shared?: { readonly uuid: string; readonly createdAtMs: number };
}

/** An image in the store. It never changes, except that its layers may be merged into equivalent ones. */
export interface StoredImage {
  readonly uuid: string;
  readonly parent: string | null;
  readonly operation: string | null;
  readonly config: ImageConfig;
  readonly createdAtMs: number;
  /** Digests of the layers, bottom first. */
  readonly layers: readonly string[];
}

interface ImageRow extends ImageFacts {
  readonly config: string;
  readonly created_at: number;
}

const NEWEST_TAG = 'SELECT max(id) FROM tags WHERE image = uuid';

/**
 * Images of one project: immutable stacks of layers, each with its parent (of the same project) and its origin.
 */
export class ImageStore {
  readonly #database: Database;
  readonly #holds: Holds;
  readonly #stacks: StackStore;
  readonly #tags: TagStore;
  readonly #project: string;

  constructor({ database, holds, stacks }: StoreParts, project: string, tags: TagStore) {
    this.#database = database;
    this.#holds = holds;
    this.#stacks = stacks;
    this.#tags = tags;
    this.#project = project;
  }

  /**
   * Publishes an image whose layers are published; it survives a power cut once this returns. A shared image that is here
   * stays as it is.
   */
  create(image: NewImage): StoredImage {
    const { uuid = randomUUID(), createdAtMs = Date.now() } = image.shared ?? {};
    const config = JSON.stringify(image.config);
    this.#database.transaction(
      () => {
        const made = this.#database.run(
          `INSERT INTO images (uuid, project, parent, operation, command, exit_code, layer_bytes, config, content,
             created_at, shared_used_at)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
           ON CONFLICT (uuid) DO UPDATE
             SET absent = 0, content = excluded.content, shared_used_at = excluded.shared_used_at WHERE absent = 1`,
          uuid,
          this.#project,
          image.parent ?? null,
          image.operation ?? null,
          image.command ?? null,
          image.exitCode ?? null,
          image.layerBytes ?? null,
          config,
          contentKey(image.layers, config),
          createdAtMs,
          image.shared === undefined ? null : Date.now(),
        );
        if (made === 1) this.#stacks.set(uuid, image.layers);
      },
      { durable: true },
    );
    return this.get(uuid);
  }

  /** Returns an image. Throws IMAGE_NOT_FOUND. */
  get(uuid: string): StoredImage {
    const row = this.#row(uuid);
    if (row === undefined) throw fault('IMAGE_NOT_FOUND', { image: uuid });
    return this.#stored(row);
  }

  find(uuid: string): StoredImage | undefined {
    const row = this.#row(uuid);
    return row && this.#stored(row);
  }

  /** Returns the image of a UUID or `tag:NAME`. Callers resolve once and keep the UUID, because a tag may move. */
  resolve(source: string): StoredImage {
    if (!source.startsWith('tag:')) {
      if (!isUuid(source)) throw this.#notFound(source, source);
      return this.get(source.toLowerCase());
    }
    const name = source.slice('tag:'.length);
    const uuid = this.#tags.find(name);
    if (uuid === undefined) throw this.#notFound(source, name);
    return this.get(uuid);
  }

  /**
   * Returns a root image with exactly these layers and this configuration, if any, so that a repeated import creates
   * none.
   */
  findRoot(layers: readonly string[], config: ImageConfig): StoredImage | undefined {
    const row = this.#database.get<ImageRow>(
      `SELECT * FROM images WHERE content = ? AND project = ? AND parent IS NULL AND absent = 0
         ORDER BY created_at DESC LIMIT 1`,
      contentKey(layers, JSON.stringify(config)),
      this.#project,
    );
    return row && this.#stored(row);
  }

  /**
   * Lists images, newest first, each once with its newest tag. A list of tagged images has an entry for every tag that the
   * filter accepts, as in the hosted service, an exact match first.
   */
  list(query: ImageQuery): Image[] {
    const byTag = query.tag !== undefined || query.tagged === true;
    const conditions = new Conditions();
    conditions
      .add('?1 = ?1', query.tag ?? '')
      .add('images.project = ?', this.#project)
      .add('absent = 0');
    if (byTag) conditions.add('substr(name, 1, length(?1)) = ?1');
    if (query.uuid !== undefined) conditions.add('uuid = ?', query.uuid.toLowerCase());
    if (query.since !== undefined) conditions.add('created_at >= ?', query.since.getTime());
    if (query.until !== undefined) conditions.add('created_at <= ?', query.until.getTime());
    const rows = this.#database.all<ImageRow & { shown: string | null }>(
      `SELECT images.*, name AS shown
         FROM images ${byTag ? '' : 'LEFT'} JOIN tags ON image = uuid ${byTag ? '' : `AND id = (${NEWEST_TAG})`}
       ${conditions.where}
       ORDER BY (name IS ?1) DESC, created_at DESC, images.rowid DESC, id DESC LIMIT ? OFFSET ?`,
      ...conditions.values,
      query.limit ?? limits.pageDefault,
      query.offset ?? 0,
    );
    return rows.map((row) => listedImage(this.#node(row), row.shown));
  }

  /** Returns the image as in the API, with its newest tag. */
  describe(uuid: string): Image {
    const row = this.#row(uuid);
    if (row === undefined) throw fault('IMAGE_NOT_FOUND', { image: uuid });
    return listedImage(this.#node(row), this.#tags.of(uuid)[0] ?? null);
  }

  lineage(uuid: string): Lineage {
    if (this.#row(uuid) === undefined) throw fault('IMAGE_NOT_FOUND', { image: uuid });
    const rows = this.#database.all<ImageRow>(
      `WITH RECURSIVE line (uuid, depth) AS (
         SELECT ?, 0 UNION ALL SELECT images.parent, depth + 1 FROM line JOIN images USING (uuid) WHERE parent IS NOT NULL
       ) SELECT images.* FROM line JOIN images USING (uuid) ORDER BY depth`,
      uuid,
    );
    const [image, ...ancestors] = rows.map((row) => this.#node(row));
    const children = this.#database.all<ImageRow>(
      'SELECT * FROM images WHERE parent = ? ORDER BY created_at, rowid',
      uuid,
    );
    const self = defined(image, 'a line starts with the image itself');
    return {
      image: self,
      ancestors,
      children: children.map((row) => this.#node(row)),
      root: ancestors.at(-1)?.uuid ?? self.uuid,
    };
  }

  /**
   * Deletes an image and, with `cascade`, everything made from it. Returns the deleted images, children first. Their
   * layers stay until gc. Throws IMAGE_IN_USE when something depends on it: `usedBy` names uses that the database
   * cannot know, such as a running operation.
   */
  delete(
    uuid: string,
    { cascade, usedBy }: { readonly cascade: boolean; readonly usedBy: (image: string) => string | undefined },
  ): string[] {
    return this.#database.transaction(
      () => {
        const doomed = this.#database
          .all<{ uuid: string }>(
            `WITH RECURSIVE tree (uuid, depth) AS (
               SELECT ?, 0 UNION ALL SELECT images.uuid, depth + 1 FROM tree JOIN images ON images.parent = tree.uuid
             ) SELECT uuid FROM tree ORDER BY depth DESC`,
            uuid,
          )
          .map((row) => row.uuid);
        if (this.#row(uuid) === undefined) throw fault('IMAGE_NOT_FOUND', { image: uuid });
        if (doomed.length > 1 && !cascade) {
          const count = doomed.length - 1;
          throw fault('IMAGE_IN_USE', { image: uuid, by: `${count} image${count === 1 ? '' : 's'} made from it` });
        }
        for (const image of doomed) {
          const user = usedBy(image);
          if (user !== undefined) throw fault('IMAGE_IN_USE', { image, by: user });
        }
        for (const image of doomed) {
          this.#database.run('DELETE FROM tags WHERE image = ?', image);
          this.#database.run('DELETE FROM images WHERE uuid = ?', image);
        }
        return doomed;
      },
      { durable: true },
    );
  }

  count(): number {
    return (
      this.#database.get<{ count: number }>(
        'SELECT count(*) AS count FROM images WHERE project = ? AND absent = 0',
        this.#project,
      )?.count ?? 0
    );
  }

  #row(uuid: string): ImageRow | undefined {
    const sql = 'SELECT * FROM images WHERE uuid = ? AND project = ? AND absent = 0';
    return this.#database.get<ImageRow>(sql, uuid, this.#project);
  }

  #stored(row: ImageRow): StoredImage {
    const layers = this.#stacks.of(row.uuid);
    this.#holds.touch(row.uuid);
    return {
      uuid: row.uuid,
      parent: row.parent,
      operation: row.operation,
      config: parseColumn(ImageConfig, row.config, `configuration of image ${row.uuid}`),
      createdAtMs: row.created_at,
      layers,
    };
  }

  #node(row: ImageRow): LineageNode {
    return lineageNode(row, { tags: this.#tags.of(row.uuid), createdAtMs: row.created_at });
  }

  #notFound(source: string, name: string): Error {
    const closest = isTag(name) ? this.#tags.closest(name) : [];
    return fault('IMAGE_NOT_FOUND', {
      image: source,
      ...(closest.length > 0 && { closest: closest.map((tag) => `tag:${tag}`).join(', ') }),
    });
  }
}
