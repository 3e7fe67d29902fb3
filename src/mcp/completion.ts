import type { ConTree } from '../contract/contree.ts';
import type { Image } from '../contract/image.ts';
import { limits } from '../contract/limits.ts';

const FRESH_MS = 30_000;

/** The newest images of a server, asked for at most every half minute: completion is called on every key stroke. */
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

type Chosen = { arguments?: Record<string, string> };

/** Suggestions for arguments of prompts and resource templates; the SDK shows the first hundred. */
export interface Completions {
  readonly image: (value: string) => Promise<string[]>;
  readonly operation: (value: string) => Promise<string[]>;
  readonly path: (value: string, context?: Chosen) => Promise<string[]>;
}

/** Returns no suggestions on failure, because completion must never fail the request. */
async function orNone(suggest: () => Promise<string[]>): Promise<string[]> {
  try {
    return await suggest();
  } catch {
    return [];
  }
}

export function completionsFor(connect: () => Promise<ConTree>, names: ImageNames): Completions {
  return {
    image: async (value) =>
      await orNone(async () => {
        const images = await names.list(await connect());
        const tags = images.flatMap(({ tag, tags }) => tags ?? (tag === null ? [] : [tag])).map((tag) => `tag:${tag}`);
        const all = [...new Set(tags), ...images.map(({ uuid }) => uuid)];
        return all.filter((name) => name.startsWith(value) || name.startsWith(`tag:${value}`));
      }),
    operation: async (value) =>
      await orNone(async () => {
        const operations = await (await connect()).operations.list({ limit: 50 });
        return operations.map(({ uuid }) => uuid).filter((uuid) => uuid.startsWith(value));
      }),
    path: async (value, context) =>
      await orNone(async () => {
        const image = decode(context?.arguments?.['image'] ?? '');
        if (image === '') return [];
        const slash = value.lastIndexOf('/');
        const directory = slash < 0 ? '' : value.slice(0, slash + 1);
        const { files } = await (
          await connect()
        ).files.list(image, { path: `/${directory}`, limit: limits.entriesListedMax });
        return files
          .map((file) => `${directory}${file.path}${file.is_dir ? '/' : ''}`)
          .filter((path) => path.startsWith(value));
      }),
  };
}

/** Decodes percent-encoding; leaves other text unchanged. */
export function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
