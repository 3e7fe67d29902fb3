import { defined } from '../std/assert.ts';
import type { Database } from './database.ts';
import type { Holds } from './gc/holds.ts';

/**
 * Which layers images consist of, bottom first. For whoever has an image's UUID already, whatever its project: layers are
 * shared, and merging them concerns every image that has them.
 */
export class StackStore {
  readonly #database: Database;
  readonly #holds: Holds;

  constructor(database: Database, holds: Holds) {
    this.#database = database;
    this.#holds = holds;
  }

  /** Digests of an image's layers, from then on held; empty when there is no such image. */
  of(image: string): string[] {
    const sql = 'SELECT layer FROM image_layers WHERE image = ? ORDER BY position';
    const layers = this.#database.all<{ layer: string }>(sql, image).map(({ layer }) => layer);
    for (const layer of layers) this.#holds.touch(layer);
    return layers;
  }

  /** Of an image that has none yet. */
  set(image: string, layers: readonly string[]): void {
    for (const [position, layer] of layers.entries()) {
      this.#database.run('INSERT INTO image_layers (image, position, layer) VALUES (?, ?, ?)', image, position, layer);
    }
  }

  /**
   * Gives every image that lies on exactly the layers `before`, or has more on top of them, `after` in their place,
   * which shows the same. Whoever resolved one of them before goes on with the old layers, which stay as long as they are
   * held.
   */
  replace(before: readonly string[], after: readonly string[]): void {
    const top = before.length - 1;
    this.#database.transaction(
      () => {
        const candidates = this.#database.all<{ image: string }>(
          'SELECT image FROM image_layers WHERE layer = ? AND position = ?',
          defined(before[top], 'an image has layers'),
          top,
        );
        for (const { image } of candidates) {
          const layers = this.of(image);
          if (before.some((digest, position) => digest !== layers[position])) continue;
          this.#database.run('DELETE FROM image_layers WHERE image = ?', image);
          this.set(image, [...after, ...layers.slice(before.length)]);
        }
      },
      { durable: true },
    );
  }
}
