import type { Database } from '../database.ts';

/** Number of images that need each layer, and the space freed when some of them are deleted. */
export class LayerCounts {
  freedBytes = 0;
  readonly #layersOf = new Map<string, { readonly layer: string; readonly bytes: number }[]>();
  readonly #users = new Map<string, number>();
  readonly #isHeld: (layer: string) => boolean;

  /** Layers that are held (`isHeld`) count as needed. */
  constructor(database: Database, isHeld: (layer: string) => boolean = () => false) {
    this.#isHeld = isHeld;
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

  /** Counts an image as deleted. */
  drop(image: string): void {
    for (const { layer, bytes } of this.#layersOf.get(image) ?? []) {
      const users = (this.#users.get(layer) ?? 1) - 1;
      this.#users.set(layer, users);
      if (users === 0 && !this.#isHeld(layer)) this.freedBytes += bytes;
    }
  }
}
