import type { ConTree } from '../../contract/contree.ts';
import type { ClusterContext } from './context.ts';
import { whileHeld } from './held.ts';

/** Returns the files group of a project: the image is made available, then the own engine reads it. */
export function clusterFiles(context: ClusterContext): ConTree['files'] {
  const { files } = context.own;
  return {
    list: async (image, query, signal) => {
      using adopted = await context.adopted(image, signal);
      return await files.list(adopted.uuid, query, signal);
    },
    stat: async (image, query, signal) => {
      using adopted = await context.adopted(image, signal);
      return await files.stat(adopted.uuid, query, signal);
    },
    read: async (image, query, signal) => {
      // Without a reader nothing is held, as in the engine: what is read late is adopted again.
      using adopted = await context.adopted(image, signal);
      const { path, size } = await files.read(adopted.uuid, query, signal);
      return { path, size, body: content(context, adopted.uuid, { query, signal }) };
    },
    archive: async (image, query, signal) => {
      const adopted = await context.adopted(image, signal);
      return whileHeld(adopted, () => files.archive(adopted.uuid, query, signal));
    },
    grep: async (image, query, signal) => {
      using adopted = await context.adopted(image, signal);
      return await files.grep(adopted.uuid, query, signal);
    },
  };
}

async function* content(
  context: ClusterContext,
  image: string,
  {
    query,
    signal,
  }: { readonly query: Parameters<ConTree['files']['read']>[1]; readonly signal: AbortSignal | undefined },
): AsyncGenerator<Uint8Array> {
  using adopted = await context.adopted(image, signal);
  yield* (await context.own.files.read(adopted.uuid, query, signal)).body;
}
