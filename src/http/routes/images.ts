import { z } from 'zod';
import { fault } from '../../contract/errors.ts';
import { ArchiveImportRequest, ImageImportRequest, ImagePushRequest, isTag, isUuid } from '../../contract/image.ts';
import { jsonLines } from '../json-lines.ts';
import { flag, PAGE, present, text } from '../params.ts';
import { empty, json, stream, type Reply } from '../reply.ts';
import { route, type Route } from '../route.ts';
import { OperationStarted, TagRequest } from '../schemas.ts';

/**
 * The image that a path names: a UUID as clients of the contract send it, or `tag:NAME` as everywhere else. What can be
 * neither is reported as missing.
 */
export function imageOf({ path }: { readonly path: Readonly<Record<string, string>> }): string {
  const image = path['imageUUID'] ?? path['image_uuid'] ?? '';
  if (isUuid(image)) return image.toLowerCase();
  if (image.startsWith('tag:') && isTag(image.slice(4))) return image;
  throw fault('IMAGE_NOT_FOUND', { image: JSON.stringify(image.slice(0, 300)) });
}

/** The answer to work that was queued: its operation, and where to follow it. */
export function started(uuid: string, echo: object = {}): Reply {
  return json({ ...echo, uuid }, 201, { Location: `/v1/operations/${uuid}` });
}

/** The first generation of the API took the registry as a bare reference. */
const ImportBody = ImageImportRequest.extend({ registry: z.union([z.string(), ImageImportRequest.shape.registry]) });

const LIST: readonly Route[] = [
  route({
    method: 'GET',
    path: '/images',
    operationId: 'listImages',
    summary: 'List images, newest first; with `tag` (a prefix) an exact match comes first',
    permissions: ['list'],
    query: { ...PAGE, tagged: flag(), tag: text(), uuid: text() },
    response: { status: 200, description: 'ok', schema: 'ImageListResponse' },
    handle: async ({ contree, query, signal }) => json({ images: await contree.listImages(present(query), signal) }),
  }),
  route({
    method: 'GET',
    path: '/images/{imageUUID}/lineage',
    operationId: 'getImageLineage',
    summary: 'How an image came to be: ancestors up to its root, and children',
    permissions: ['list'],
    response: { status: 200, description: 'ok', schema: 'Lineage' },
    handle: async (call) => json(await call.contree.lineage(imageOf(call), call.signal)),
  }),
  route({
    method: 'GET',
    path: '/images/{imageUUID}/export',
    operationId: 'exportImage',
    summary: 'The image as an OCI layout in a tar stream',
    permissions: ['list'],
    response: { status: 200, description: 'ok', mediaType: 'application/x-tar' },
    handle: async (call) => stream(await call.contree.exportImage(imageOf(call), call.signal), 'application/x-tar'),
  }),
];

const CHANGE: readonly Route[] = [
  route({
    method: 'DELETE',
    path: '/images/{imageUUID}',
    operationId: 'deleteImage',
    summary: 'Delete an image; with `cascade` also those made from it',
    permissions: ['delete'],
    query: { cascade: flag() },
    response: { status: 200, description: 'the images that are gone', schema: 'DeletedImages' },
    handle: async (call) => {
      const cascade = call.query.cascade ?? false;
      return json({ deleted: await call.contree.deleteImage(imageOf(call), { cascade }, call.signal) });
    },
  }),
  route({
    method: 'DELETE',
    path: '/images/{imageUUID}/tag',
    operationId: 'deleteImageTag',
    summary: 'Remove a tag',
    permissions: ['set_image_tag'],
    query: { tag: text() },
    response: { status: 204, description: 'removed' },
    handle: async (call) => {
      const { contree, query, signal } = call;
      const image = imageOf(call);
      await contree.removeTag(image, query.tag || undefined, signal);
      // Clients that name no tag read the image from the answer.
      return query.tag ? empty(204) : json(await contree.getImage(image, signal));
    },
  }),
  route({
    method: 'PATCH',
    path: '/images/{imageUUID}/tag',
    operationId: 'updateImageTag',
    summary: 'Point a tag at the image, wherever it pointed before',
    permissions: ['set_image_tag'],
    body: { schema: TagRequest },
    response: { status: 200, description: 'ok', schema: 'Image' },
    handle: async (call) => json(await call.contree.setTag(imageOf(call), call.body.tag, call.signal)),
  }),
];

const IMPORT: readonly Route[] = [
  route({
    method: 'POST',
    path: '/images/import',
    operationId: 'importImage',
    summary: 'Import an image from a registry',
    permissions: ['import'],
    body: { schema: ImportBody, name: 'ImageImportRequest' },
    response: { status: 201, description: 'accepted', schema: OperationStarted },
    handle: async ({ contree, body, signal }) => {
      const registry = typeof body.registry === 'string' ? { url: body.registry } : body.registry;
      return started((await contree.importImage({ ...body, registry }, signal)).uuid);
    },
  }),
  route({
    method: 'POST',
    path: '/images/import-archive',
    operationId: 'importArchive',
    summary: 'Import an uploaded docker-save archive, OCI layout (tar) or root filesystem tar',
    permissions: ['import'],
    body: { schema: ArchiveImportRequest, name: 'ArchiveImportRequest' },
    response: { status: 201, description: 'accepted', schema: OperationStarted },
    handle: async ({ contree, body, signal }) => started((await contree.importArchive(body, signal)).uuid),
  }),
];

const PUSH: readonly Route[] = [
  route({
    method: 'POST',
    path: '/images/{imageUUID}/push',
    operationId: 'pushImage',
    summary: 'Push an image to a registry, for as long as the answer is read: one JSON object a line (`PushEvent`)',
    permissions: ['push'],
    body: { schema: ImagePushRequest, name: 'ImagePushRequest' },
    response: { status: 200, description: 'progress, then `pushed` or `failed`', mediaType: 'application/x-ndjson' },
    handle: async (call) => {
      const { contree, body, signal, log } = call;
      const events = contree.pushImage(imageOf(call), body, signal);
      return stream(
        await jsonLines(events, (error) => log.warn({ err: error }, 'a push failed')),
        'application/x-ndjson',
      );
    },
  }),
];

export const IMAGE_ROUTES: readonly Route[] = [...LIST, ...CHANGE, ...IMPORT, ...PUSH];
