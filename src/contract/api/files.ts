import { limits } from '../limits.ts';
import type { Rows } from './row.ts';

/** Files inside images. Layers are read directly; no VM is started. */
export const FILES = {
  /** Lists a directory. */
  list: {
    method: 'GET',
    path: '/inspect/{image_uuid}/list',
    subject: 'image',
    operationId: 'inspectImageFile',
    refuses: [422],
    summary: 'List a directory; `text` answers as `ls -l` does',
    permissions: ['list'],
    query: 'ListQuery',
    wireQuery: 'TextQuery',
    answer: 'DirectoryList',
    missing: 'directory',
    status: 200,
  },
  /** Returns the metadata of a path, under the path as given. A symlink at its end is not followed. */
  stat: {
    method: 'GET',
    path: '/inspect/{image_uuid}/stat',
    subject: 'image',
    operationId: 'inspectImageStat',
    refuses: [422],
    summary: 'What is at a path; a symlink at its end is not followed',
    permissions: ['list'],
    query: 'PathQuery',
    answer: 'FileItem',
    missing: 'file',
    status: 200,
    addition: true,
  },
  /** Opens a regular file for reading: at most `length` bytes from `offset`. */
  read: {
    method: 'GET',
    path: '/inspect/{image_uuid}/download',
    subject: 'image',
    operationId: 'inspectImageDownload',
    refuses: [422],
    summary: 'Bytes of a file, with `text` as text; Range is understood, and so are `offset` and `length`',
    permissions: ['list'],
    query: 'ReadQuery',
    wireQuery: 'TextQuery',
    stream: 'content',
    mediaType: 'application/octet-stream',
    missing: 'file',
    status: 200,
  },
  /** Returns a subtree as a POSIX PAX tar; member names begin with the name of the entry itself. */
  archive: {
    method: 'GET',
    path: '/inspect/{image_uuid}/archive',
    subject: 'image',
    operationId: 'inspectImageArchive',
    refuses: [422],
    summary: 'A subtree as a PAX tar; its names begin with that of the entry itself',
    permissions: ['list'],
    query: 'PathQuery',
    stream: 'bytes',
    mediaType: 'application/x-tar',
    missing: 'directory',
    status: 200,
  },
  /** Searches file contents. */
  grep: {
    method: 'GET',
    path: '/inspect/{image_uuid}/grep',
    subject: 'image',
    operationId: 'inspectImageGrep',
    refuses: [422],
    summary: 'Search file contents; no match is an empty answer',
    permissions: ['list'],
    query: 'GrepQuery',
    answer: 'GrepResult',
    missing: 'file',
    status: 200,
  },
} as const satisfies Rows;

/** Uploaded files, which runs can inject into images. */
export const UPLOADS = {
  list: {
    method: 'GET',
    path: '/files',
    operationId: 'listFiles',
    summary: 'List uploaded files; with `sha256` or `uuid` that one file',
    permissions: ['list'],
    query: 'FileQuery',
    wireQuery: 'FileNameQuery',
    answer: 'FilesListResponse',
    field: 'files',
    status: 200,
  },
  /** Returns an upload by its sha256 (hex) or UUID. */
  get: {
    method: 'GET',
    path: '/files/{sha256}',
    subject: 'upload',
    operationId: 'getFile',
    summary: 'Get an uploaded file by its sha256 or uuid',
    permissions: ['list'],
    answer: 'File',
    status: 200,
  },
  /** Uploads a file; the same content is stored once. */
  create: {
    method: 'POST',
    path: '/files',
    operationId: 'uploadFile',
    summary: 'Upload a file; the same content is stored once',
    permissions: ['upload'],
    upload: 'file',
    bodyBytesMax: limits.uploadBytesMax,
    answer: 'FileResponse',
    status: 201,
    slow: true,
  },
  /**
   * Uploads several small files: each chunk of `content` is one file of at most `limits.bulkFileBytesMax`, and there
   * are at most `limits.bulkFilesMax`. The answer has the same order.
   */
  createMany: {
    method: 'POST',
    path: '/files/bulk',
    operationId: 'uploadFiles',
    summary: 'Upload many small files, before each its length in 4 bytes (big-endian); answers in their order',
    permissions: ['upload'],
    upload: 'files',
    bodyBytesMax: limits.uploadBytesMax,
    answer: 'BulkUploadResponse',
    field: 'files',
    status: 201,
    addition: true,
    slow: true,
  },
  /** Makes a directory state if all its contents are uploaded, otherwise says which are missing. */
  offerDirectory: {
    method: 'POST',
    path: '/directory-states',
    operationId: 'offerDirectoryState',
    summary:
      'Make a set of uploaded files addressable, or learn which are missing; as NDJSON, one entry per line, for many',
    permissions: ['upload'],
    body: 'DirectoryStateRequest',
    bodyBytesMax: limits.jsonBodyBytesMax,
    // A folder may have more files than one JSON value should hold.
    lines: {
      field: 'entries',
      what: 'entries in a directory state',
      linesMax: limits.directoryStateEntriesMax,
      bytesMax: limits.directoryStateBytesMax,
    },
    answer: 'DirectoryStateResponse',
    status: 200,
    addition: true,
  },
} as const satisfies Rows;
