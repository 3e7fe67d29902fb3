import type { ConTree } from '../../contract/contree.ts';
import { grep } from '../../images/inspect/grep/grep.ts';
import * as view from '../../images/inspect/view.ts';
import type { Tree } from '../../layers/tree.ts';
import type { ProjectContext } from './context.ts';

/** The files inside a project's images. No VM is started; trees are kept open for the next question. */
export function projectFiles({ store, parts: { trees } }: ProjectContext): ConTree['files'] {
  /** A stream that keeps its tree open while it is read, and nothing at all when nobody reads it. */
  async function* streamed(
    image: string,
    open: (tree: Tree) => Promise<AsyncIterable<Uint8Array>>,
    signal?: AbortSignal,
  ): AsyncGenerator<Uint8Array> {
    await using lease = await trees.open(store, image);
    for await (const chunk of await open(lease.tree)) {
      signal?.throwIfAborted();
      yield chunk;
    }
  }
  return {
    list: async (image, { path }) => {
      await using lease = await trees.open(store, image);
      return await view.listDirectory(lease.tree, path);
    },
    stat: async (image, { path }) => {
      await using lease = await trees.open(store, image);
      return await view.stat(lease.tree, path);
    },
    read: async (image, { path, ...range }) => {
      await using lease = await trees.open(store, image);
      const { size } = await view.openFile(lease.tree, path, range);
      const body = streamed(lease.uuid, async (tree) => (await view.openFile(tree, path, range)).body);
      return { path, size, body };
    },
    archive: async (image, { path }, signal) => {
      await using lease = await trees.open(store, image);
      // Only to fail here, before the answer begins.
      await view.resolve(lease.tree, path);
      return streamed(lease.uuid, (tree) => view.archive(tree, path), signal);
    },
    grep: async (image, query, signal) => {
      await using lease = await trees.open(store, image);
      return await grep(lease.tree, query, signal);
    },
  };
}
