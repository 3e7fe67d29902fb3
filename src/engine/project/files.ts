import type { ConTree } from '../../contract/contree.ts';
import type { ReadRange } from '../../contract/inspect.ts';
import * as view from '../../images/inspect/view.ts';
import type { ProjectContext } from './context.ts';
import { layersOf, streamed } from './inspect.ts';

/**
 * Returns the files group of a project. No VM is started. Work that is small whatever the image holds is done here,
 * with trees that are kept open for the next request; everything else in threads, where it cannot block the engine.
 */
export function projectFiles(context: ProjectContext): ConTree['files'] {
  const { store, parts } = context;
  const { trees, threads } = parts;
  /** Streams from a tree that stays open while it is read; without a reader nothing is held. */
  async function* content(image: string, path: string, range: ReadRange): AsyncGenerator<Uint8Array> {
    await using lease = await trees.open(store, image);
    yield* (await view.openFile(lease.tree, path, range)).body;
  }
  return {
    list: async (image, { path, ...range }, signal) => {
      using _hold = store.hold();
      await using lease = await trees.open(store, image);
      if (await view.isSmallDirectory(lease.tree, path)) return await view.listDirectory(lease.tree, path, range);
      const job = { name: 'list', image: await layersOf(store, lease.uuid), path, range } as const;
      return await threads.answer(store.project, job, signal);
    },
    stat: async (image, { path }) => {
      await using lease = await trees.open(store, image);
      return await view.stat(lease.tree, path);
    },
    read: async (image, { path, ...range }) => {
      await using lease = await trees.open(store, image);
      const { size } = await view.openFile(lease.tree, path, range);
      return { path, size, body: content(lease.uuid, path, range) };
    },
    archive: async (image, { path }, signal) => {
      await using lease = await trees.open(store, image);
      // Fails here, before the answer has started.
      await view.archivable(lease.tree, path);
      const { uuid } = lease;
      return streamed(context, async () => ({ name: 'archive', image: await layersOf(store, uuid), path }), signal);
    },
    grep: async (image, query, signal) => {
      using _hold = store.hold();
      const job = { name: 'grep', image: await layersOf(store, image), query } as const;
      return await threads.answer(store.project, job, signal);
    },
  };
}
