import type { ConTree } from '../../contract/contree.ts';
import type { ImageImportRequest } from '../../contract/image.ts';
import { limits } from '../../contract/limits.ts';
import type { ExportRequest } from '../../images/export/oci-layout.ts';
import { endsSource, readHead, withHead } from '../../std/streams.ts';
import type { ProjectStore } from '../../store/project-store.ts';
import { executeImport, recordArchiveImport, recordImport, type ImportWork } from '../import.ts';
import { executeBuild, recordBuild } from '../build/build.ts';
import { checkAgents } from '../build/ssh/agent.ts';
import { pushEvents } from '../push.ts';
import { boundedTimeout, checkQuota, type ProjectContext } from './context.ts';
import { layersOf, streamed } from './inspect.ts';
import { checkOtherTags, checkTag } from './tags.ts';

/** Listing, comparing and deleting a project's images. */
function keptImages({ store, parts }: ProjectContext): Pick<ConTree['images'], 'list' | 'get' | 'lineage' | 'diff'> {
  const uuidOf = (image: string): string => store.images.resolve(image).uuid;
  return {
    list: async (query = {}) => store.images.list(query),
    get: async (image) => store.images.describe(uuidOf(image)),
    lineage: async (image) => store.images.lineage(uuidOf(image)),
    diff: async (image, { to, ...query }, signal) => {
      using _hold = store.hold();
      const [before, after] = [await layersOf(store, image), await layersOf(store, to)];
      return await parts.threads.answer(store.project, { name: 'diff', from: before, to: after, query }, signal);
    },
  };
}

/** Deletes an image by its tag or its UUID. */
function deleter({ store, parts }: ProjectContext): ConTree['images']['delete'] {
  return async (image, { cascade = false } = {}) => {
    const { uuid } = store.images.resolve(image);
    if (!cascade) checkOtherTags(image, store.tags.of(uuid));
    const usedBy = (id: string): string | undefined => parts.operations.userOf(id);
    // Freeing space must be possible on a full disk.
    const gone = store.transaction(() => store.images.delete(uuid, { cascade, usedBy }), {
      durable: true,
      essential: true,
    });
    await parts.trees.closeIdle();
    return gone;
  };
}

/** Importing images into a project. */
function imports(context: ProjectContext): Pick<ConTree['images'], 'import' | 'importArchive'> {
  const { store, parts, tenant, privateByName } = context;
  const start = (
    { tag, timeout }: Pick<ImageImportRequest, 'tag' | 'timeout'>,
    record: object,
    fetchImage: ImportWork['fetchImage'],
  ): { uuid: string } => {
    checkTag(tag || undefined);
    const most = context.bounds.images_import_max_timeout;
    const timeoutSeconds = boundedTimeout(timeout, limits.importTimeoutSecondsDefault, most);
    checkQuota(context, { stores: true });
    const published = (image: string): void => parts.compactor.schedule(image);
    const uuid = parts.operations.start({
      ...context.place,
      token: tenant.token,
      kind: 'image_import',
      request: JSON.stringify(record),
      admission: parts.imports,
      cost: { imports: 1 },
      work: (operation) =>
        executeImport({ store, privateByName, tag, timeoutSeconds, fetchImage, published }, operation),
      release: store.hold(),
    });
    return { uuid };
  };
  return {
    import: async (request) =>
      start(request, recordImport(request), (work, signal) =>
        parts.importer.fromRegistry(request.registry, work, signal),
      ),
    importArchive: async (request) => {
      store.files.get(request.file);
      return start(request, recordArchiveImport(request), (work, signal) =>
        parts.importer.fromArchive(request, work, signal),
      );
    },
  };
}

/** Building images in a project. */
function builds(context: ProjectContext): Pick<ConTree['images'], 'build'> {
  const { store, parts, tenant, privateByName } = context;
  return {
    build: async (request = {}) => {
      const { tag, context: files } = request;
      checkTag(tag || undefined);
      await checkAgents(request, tenant.isOwner === true);
      checkQuota(context, { stores: true });
      if (files?.file !== undefined) store.files.get(files.file);
      const timeout = boundedTimeout(
        request.timeout,
        limits.commandTimeoutSecondsMax,
        context.bounds.instance_max_timeout,
      );
      const place = { ...parts, store, privateByName, mayImport: tenant.permissions?.has('import') ?? true };
      const hold = store.hold();
      try {
        if (files?.directory_state !== undefined) store.states.ensure(files.directory_state);
        const uuid = parts.operations.start({
          ...context.place,
          token: tenant.token,
          kind: 'image_import',
          request: JSON.stringify(recordBuild(request)),
          admission: parts.builds,
          cost: { builds: 1 },
          work: (operation) => executeBuild(place, { ...request, timeout }, operation),
          release: hold,
        });
        return { uuid };
      } catch (error) {
        hold[Symbol.dispose]();
        throw error;
      }
    },
  };
}

/** Exporting and pushing a project's images. */
function exports(context: ProjectContext): Pick<ConTree['images'], 'export' | 'push'> {
  const { store, parts, privateByName } = context;
  return {
    export: async (image, signal) => {
      const { uuid } = store.images.resolve(image);
      const job = async () => ({ name: 'export', request: await exportOf(store, uuid) }) as const;
      const chunks = streamed(context, job, signal);
      // Read before it is answered, so that a name that OCI cannot represent is a fault and not a stream that breaks off.
      const head = await readHead(chunks, 1);
      return endsSource(withHead(head, chunks), chunks);
    },
    push: async function* (image, request, signal) {
      using _hold = store.hold();
      const exported = await exportOf(store, store.images.resolve(image).uuid);
      // Compression needs a core, as an import does.
      using _place = await parts.imports.enter(
        { project: store.project, cost: { imports: 1 } },
        signal ?? new AbortController().signal,
      );
      yield* pushEvents(
        (onProgress, ends) => parts.pusher(exported, request, { store, onProgress, privateByName }, ends),
        signal,
      );
    },
  };
}

/** Returns the export request of an image, valid while the store is held. */
async function exportOf(store: ProjectStore, image: string): Promise<ExportRequest> {
  const { uuid, layers, config } = store.images.get(image);
  const { image: self, ancestors } = store.images.lineage(uuid);
  const lineage = [self, ...ancestors].toReversed().map((node) => ({
    uuid: node.uuid,
    createdAt: node.created_at,
    command: node.parent_uuid === null ? null : node.command,
  }));
  return { uuid, config, lineage, layers: await store.layers.files(layers) };
}

/** Returns the images group of a project. */
export function projectImages(context: ProjectContext): ConTree['images'] {
  return {
    ...keptImages(context),
    delete: deleter(context),
    ...imports(context),
    ...builds(context),
    ...exports(context),
  };
}
