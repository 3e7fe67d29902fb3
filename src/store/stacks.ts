import { defined } from '../std/assert.ts';
import type { Database } from './database.ts';
import type { Holds } from './gc/holds.ts';

/**
 * Layers of images, bottom first. Callers have an image's UUID already, whatever its project: layers are shared, and
 * merging them affects every image that has them.
 */
export class StackStore {
  readonly #database: Database;
  readonly #holds: Holds;

  constructor(database: Database, holds: Holds) {
    this.#database = database;
    this.#holds = holds;
  }

  /** Returns the digests of an image's layers, which are held from then on; empty when there is no such image. */
  of(image: string): string[] {
    const sql = 'SELECT layer FROM image_layers WHERE image = ? ORDER BY position';
    const layers = this.#database.all<{ layer: string }>(sql, image).map(({ layer }) => layer);
    for (const layer of layers) this.#holds.touch(layer);
    return layers;
  }

  /** Sets the layers of an image that has none yet. */
  set(image: string, layers: readonly string[]): void {
    for (const [position, layer] of layers.entries()) {
      this.#database.run('INSERT INTO image_layers (image, position, layer) VALUES (?, ?, ?)', image, position, layer);
    }
  }

  /**
   * Replaces the layers `before` by the equivalent `after` in every image whose stack begins with exactly them. Work
   * that resolved such an image earlier continues with the old layers, which stay while they are held.
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
