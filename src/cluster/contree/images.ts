import type { ConTree } from '../../contract/contree.ts';
import { limits } from '../../contract/limits.ts';
import { recordBuild } from '../../engine/build/build.ts';
import { checkAgents } from '../../engine/build/ssh/agent.ts';
import { recordArchiveImport, recordImport } from '../../engine/import.ts';
import { boundedTimeout } from '../../engine/project/context.ts';
import { checkOtherTags, checkTag } from '../../engine/project/tags.ts';
import { accept } from './accept.ts';
import type { ClusterContext } from './context.ts';
import { whileHeld } from './held.ts';

/** Returns the images group of a project: the catalogue's answers; what reads contents, by the own engine. */
export function clusterImages(context: ClusterContext): ConTree['images'] {
  const { images, own } = context;
  return {
    list: async (query = {}) => images.list(query),
    get: async (image) => images.describe(await images.resolve(image)),
    lineage: async (image) => images.lineage(await images.resolve(image)),
    diff: async (image, query, signal) => {
      using before = await context.adopted(image, signal);
      using after = await context.adopted(query.to, signal);
      return await own.images.diff(before.uuid, { ...query, to: after.uuid }, signal);
    },
    delete: deleter(context),
    ...accepted(context),
    export: async (image, signal) => {
      const adopted = await context.adopted(image, signal);
      return whileHeld(adopted, () => own.images.export(adopted.uuid, signal));
    },
    push: async function* (image, request, signal) {
      using adopted = await context.adopted(image, signal);
      yield* own.images.push(adopted.uuid, request, signal);
    },
  };
}

/** Returns the tags group of a project. */
export function clusterTags({ images }: ClusterContext): ConTree['tags'] {
  return {
    set: async (image, { tag }) => {
      const uuid = await images.resolve(image);
      await images.tag(uuid, tag);
      return await images.describe(uuid);
    },
    remove: async (image, { tag } = {}) => images.untag(await images.resolve(image), tag),
  };
}

function deleter({ images, parts }: ClusterContext): ConTree['images']['delete'] {
  return async (image, { cascade = false } = {}) => {
    const uuid = await images.resolve(image);
    if (!cascade) checkOtherTags(image, await images.tagsOf(uuid));
    const gone = await images.delete(uuid, { cascade });
    // Other nodes forget it with what they use least; nobody is shown it any more.
    parts.engine.node.forgetImages(gone);
    return gone;
  };
}

/** Imports and builds: accepted here, executed by the node that claims them. */
function accepted(context: ClusterContext): Pick<ConTree['images'], 'import' | 'importArchive' | 'build'> {
  const importTimeout = (asked: number | undefined): number =>
    boundedTimeout(asked, limits.importTimeoutSecondsDefault, context.bounds.images_import_max_timeout);
  return {
    import: async (request) => {
      checkTag(request.tag || undefined);
      const timeout = importTimeout(request.timeout);
      const work = { method: 'import', request: { ...request, timeout } } as const;
      return { uuid: await accept(context, { work, kind: 'image_import', record: recordImport(request) }) };
    },
    importArchive: async (request) => {
      checkTag(request.tag || undefined);
      const timeout = importTimeout(request.timeout);
      // The name that is shown is that of the request, whatever the upload is called where it is read.
      const named = { ...request, name: request.name ?? request.file };
      const work = { method: 'archive', request: { ...named, timeout } } as const;
      return { uuid: await accept(context, { work, kind: 'image_import', record: recordArchiveImport(request) }) };
    },
    build: async (request = {}) => {
      checkTag(request.tag || undefined);
      // The node that builds it is not the machine of the agent.
      await checkAgents(request, false);
      boundedTimeout(request.timeout, limits.commandTimeoutSecondsMax, context.bounds.instance_max_timeout);
      const work = { method: 'build', request } as const;
      return { uuid: await accept(context, { work, kind: 'image_import', record: recordBuild(request) }) };
    },
  };
}
