import { limits } from '../contract/limits.ts';
import type { ConTree } from '../contract/contree.ts';
import type { Image } from '../contract/image.ts';

const FRESH_MS = 30_000;

/**
 * Cache of the newest images of a server, refreshed at most every half minute: completion is called on every key
 * stroke.
 */
export class ImageNames {
  readonly #cache = new WeakMap<ConTree, { readonly atMs: number; readonly images: Promise<Image[]> }>();

  async list(contree: ConTree): Promise<Image[]> {
    const known = this.#cache.get(contree);
    if (known && performance.now() - known.atMs < FRESH_MS) return await known.images;
    const images = contree.images.list({ limit: limits.pageDefault });
    this.#cache.set(contree, { atMs: performance.now(), images });
    images.catch(() => this.#cache.delete(contree));
    return await images;
  }
}
