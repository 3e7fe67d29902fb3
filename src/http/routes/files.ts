import { unframeFiles } from '../../contract/bulk.ts';
import { fault, isFault } from '../../contract/errors.ts';
import { DirectoryStateEntry, type File, type FileResponse } from '../../contract/file.ts';
import { limits } from '../../contract/limits.ts';
import { PAGE, present, text } from '../params.ts';
import { empty, json } from '../reply.ts';
import { pathParameter, route, type Call, type Route } from '../route.ts';
import { DirectoryStateRequest } from '../schemas.ts';

/** A request's body, cut off where it exceeds what an upload may have. */
async function* uploaded(request: Request): AsyncGenerator<Uint8Array> {
  const limit = limits.uploadBytesMax;
  let total = 0;
  for await (const chunk of request.body ?? []) {
    total += chunk.byteLength;
    if (total > limit) throw fault('BODY_TOO_LARGE', { limit });
    yield chunk;
  }
}

async function fileOf(call: Call<unknown, unknown>, id: string): Promise<File> {
  if (!/^[0-9a-f-]{32,64}$/iu.test(id)) throw fault('UPLOAD_NOT_FOUND', { file: JSON.stringify(id.slice(0, 100)) });
  return call.contree.getFile(id.toLowerCase(), call.signal);
}

/** HEAD answers carry no body, not even that of an error. */
async function exists(look: Promise<unknown>): Promise<ReturnType<typeof empty>> {
  try {
    await look;
    return empty(200);
  } catch (error) {
    if (isFault(error)) return empty(error.httpStatus);
    throw error;
  }
}

function summary({ uuid, sha256, size }: File): FileResponse {
  return { uuid, sha256, size };
}

const LOOKUP: readonly Route[] = [
  route({
    method: 'GET',
    path: '/files',
    operationId: 'listFiles',
    summary: 'List uploaded files; with `sha256` or `uuid` that one file',
    permissions: ['list'],
    query: { ...PAGE, sha256: text(), uuid: text() },
    response: { status: 200, description: 'ok', schema: 'FilesListResponse' },
    handle: async (call) => {
      const { sha256, uuid, ...page } = call.query;
      const id = sha256 ?? uuid;
      if (id !== undefined) return json(summary(await fileOf(call, id)));
      return json({ files: await call.contree.listFiles(present(page), call.signal) });
    },
  }),
  route({
    method: 'HEAD',
    path: '/files',
    summary: 'Whether a file with this `sha256` or `uuid` exists',
    permissions: ['list'],
    query: { sha256: text(), uuid: text() },
    response: { status: 200, description: 'exists' },
    handle: async (call) => exists(fileOf(call, call.query.sha256 ?? call.query.uuid ?? '')),
  }),
  route({
    method: 'GET',
    path: '/files/{sha256}',
    operationId: 'getFile',
    summary: 'Get an uploaded file by its sha256 or uuid',
    permissions: ['list'],
    response: { status: 200, description: 'ok', schema: 'File' },
    handle: async (call) => json(await fileOf(call, pathParameter(call, 'sha256'))),
  }),
  route({
    method: 'HEAD',
    path: '/files/{sha256}',
    operationId: 'checkFileExists',
    summary: 'Check a file',
    permissions: ['list'],
    response: { status: 200, description: 'exists' },
    handle: async (call) => exists(fileOf(call, pathParameter(call, 'sha256'))),
  }),
];

/** A folder has more files than one JSON value should hold. */
const STATE_LINES = {
  field: 'entries',
  element: DirectoryStateEntry,
  what: 'entries in a directory state',
  linesMax: limits.directoryStateEntriesMax,
  bytesMax: limits.directoryStateBytesMax,
} as const;

const UPLOAD: readonly Route[] = [
  route({
    method: 'POST',
    path: '/files',
    operationId: 'uploadFile',
    summary: 'Upload a file; the same content is stored once',
    permissions: ['upload'],
    rawBody: 'application/octet-stream',
    response: { status: 201, description: 'ok', schema: 'FileResponse' },
    handle: async ({ contree, request, signal }) => {
      const limit = limits.uploadBytesMax;
      if (Number(request.headers.get('content-length') ?? 0) > limit) throw fault('BODY_TOO_LARGE', { limit });
      return json(await contree.uploadFile(uploaded(request), signal), 201);
    },
  }),
  route({
    method: 'POST',
    path: '/files/bulk',
    operationId: 'uploadFiles',
    summary: 'Upload many small files, before each its length in 4 bytes (big-endian); answers in their order',
    permissions: ['upload'],
    rawBody: 'application/octet-stream',
    response: { status: 201, description: 'ok', schema: 'BulkUploadResponse' },
    handle: async ({ contree, request, signal }) => {
      const files = await contree.uploadFiles(unframeFiles(uploaded(request)), signal);
      return json({ files }, 201);
    },
  }),
  route({
    method: 'POST',
    path: '/directory-states',
    operationId: 'offerDirectoryState',
    summary:
      'Make a set of uploaded files addressable, or learn which are missing; as NDJSON, one entry per line, for many',
    permissions: ['upload'],
    body: { schema: DirectoryStateRequest, lines: STATE_LINES },
    response: { status: 200, description: 'ok', schema: 'DirectoryStateResponse' },
    handle: async ({ contree, body, signal }) => json(await contree.offerDirectoryState(body.entries, signal)),
  }),
];

export const FILE_ROUTES: readonly Route[] = [...LOOKUP, ...UPLOAD];
export { exists };
