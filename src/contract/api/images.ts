import { limits } from '../limits.ts';
import type { Rows } from './row.ts';

/** Listing, importing, comparing, exporting and deleting images. */
export const IMAGES = {
  /**
   * Lists images, newest first. With `tag` (a prefix) or `tagged` there is an entry for each tag of an image, an exact match
   * first.
   */
  list: {
    method: 'GET',
    path: '/images',
    operationId: 'listImages',
    summary: 'List images, newest first; with `tag` (a prefix) or `tagged` once for each tag, an exact match first',
    permissions: ['list'],
    query: 'ImageQuery',
    answer: 'ImageListResponse',
    field: 'images',
    status: 200,
  },
  get: {
    method: 'GET',
    path: '/inspect/{image_uuid}/',
    subject: 'image',
    operationId: 'inspectImage',
    summary: 'Image info',
    permissions: ['list'],
    answer: 'Image',
    status: 200,
  },
  /** Returns the ancestors of an image up to its root, and its children. */
  lineage: {
    method: 'GET',
    path: '/images/{imageUUID}/lineage',
    subject: 'image',
    operationId: 'getImageLineage',
    summary: 'How an image came to be: ancestors up to its root, and children',
    permissions: ['list'],
    answer: 'Lineage',
    status: 200,
    addition: true,
  },
  /** Returns what changed from this image to the image `to`. */
  diff: {
    method: 'GET',
    path: '/inspect/{image_uuid}/diff',
    subject: 'image',
    operationId: 'inspectImageDiff',
    summary: 'What changed from this image to the image `to`',
    permissions: ['list'],
    query: 'DiffQuery',
    answer: 'DiffResult',
    status: 200,
    addition: true,
  },
  /**
   * Deletes an image and returns the UUIDs that were deleted. Without `cascade` it refuses an image that others depend
   * on, and one that is named by a tag and has further tags.
   */
  delete: {
    method: 'DELETE',
    path: '/images/{imageUUID}',
    subject: 'image',
    operationId: 'deleteImage',
    refuses: [409],
    summary: 'Delete an image; with `cascade` also those made from it',
    permissions: ['delete'],
    query: 'DeleteQuery',
    answer: 'DeletedImages',
    field: 'deleted',
    byName: true,
    status: 200,
    success: 'the images that are gone',
    addition: true,
  },
  /** Starts an import from a registry; `uuid` is the operation's. */
  import: {
    method: 'POST',
    path: '/images/import',
    operationId: 'importImage',
    summary: 'Import an image from a registry',
    permissions: ['import'],
    body: 'ImageImportRequest',
    answer: 'OperationStarted',
    status: 201,
    success: 'accepted',
  },
  /** Starts an import of an uploaded archive; `uuid` is the operation's. */
  importArchive: {
    method: 'POST',
    path: '/images/import-archive',
    operationId: 'importArchive',
    summary: 'Import an uploaded docker-save archive, OCI layout (tar) or root filesystem tar',
    permissions: ['import'],
    body: 'ArchiveImportRequest',
    answer: 'OperationStarted',
    status: 201,
    success: 'accepted',
    addition: true,
  },
  /** Starts a build from a Dockerfile; `uuid` is the operation's, of the kind of imports. */
  build: {
    method: 'POST',
    path: '/builds',
    operationId: 'buildImage',
    summary: 'Build an image from a Dockerfile',
    permissions: ['spawn'],
    body: 'BuildRequest',
    bodyBytesMax: limits.jsonBodyBytesMax,
    answer: 'OperationStarted',
    status: 201,
    success: 'accepted',
    addition: true,
  },
  /** Returns the image as an OCI layout, in a tar stream. */
  export: {
    method: 'GET',
    path: '/images/{imageUUID}/export',
    subject: 'image',
    operationId: 'exportImage',
    summary: 'The image as an OCI layout in a tar stream',
    permissions: ['list'],
    stream: 'bytes',
    mediaType: 'application/x-tar',
    status: 200,
    addition: true,
    slow: true,
  },
  /**
   * Pushes the image to a registry while the events are read; a reader that stops reading stops the push. It is not an
   * operation: clients of the hosted contract know two kinds of those and refuse a list with a third.
   */
  push: {
    method: 'POST',
    path: '/images/{imageUUID}/push',
    subject: 'image',
    operationId: 'pushImage',
    summary: 'Push an image to a registry, for as long as the answer is read: one JSON object a line (`PushEvent`)',
    permissions: ['push'],
    body: 'ImagePushRequest',
    stream: 'push',
    mediaType: 'application/x-ndjson',
    status: 200,
    success: 'progress, then `pushed` or `failed`',
    addition: true,
    slow: true,
  },
} as const satisfies Rows;

/** Names of images. */
export const TAGS = {
  /** Moves the tag to the image. Earlier tags of the image stay. */
  set: {
    method: 'PATCH',
    path: '/images/{imageUUID}/tag',
    subject: 'image',
    operationId: 'updateImageTag',
    summary: 'Point a tag at the image, wherever it pointed before',
    permissions: ['set_image_tag'],
    body: 'TagRequest',
    answer: 'Image',
    status: 200,
  },
  /** Removes a tag; without `tag` every tag of the image. */
  remove: {
    method: 'DELETE',
    path: '/images/{imageUUID}/tag',
    subject: 'image',
    operationId: 'deleteImageTag',
    summary: 'Remove a tag; without `tag` all of them',
    permissions: ['set_image_tag'],
    query: 'TagQuery',
    status: 204,
    success: 'removed',
  },
} as const satisfies Rows;
