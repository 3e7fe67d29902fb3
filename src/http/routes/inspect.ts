import { fault } from '../../contract/errors.ts';
import { isTag } from '../../contract/image.ts';
import type { FileContent, ReadRange } from '../../contract/inspect.ts';
import { limits } from '../../contract/limits.ts';
import { formatListing } from '../../contract/listing.ts';
import { byteRange, type ByteRange } from '../byte-range.ts';
import { choice, flag, integer, present, requiredText, requiredTexts, text, texts } from '../params.ts';
import { abandon, empty, json, plain, redirect, stream, type Reply } from '../reply.ts';
import { route, type Route } from '../route.ts';
import { imageOf } from './images.ts';

const PATH = requiredText();
const BYTES = integer(0, Number.MAX_SAFE_INTEGER);

/** Redirects to the form with a trailing slash are relative, so that they hold under any path prefix. */
function slashed(last: string, request: Request): Reply {
  return redirect(301, `${last}/${new URL(request.url).search}`);
}

const LOOKUP: readonly Route[] = [
  route({
    method: 'GET',
    path: '/inspect',
    operationId: 'inspectRedirect',
    summary: 'Redirect',
    permissions: ['list'],
    response: { status: 301, description: 'moved' },
    handle: async ({ request }) => slashed('inspect', request),
  }),
  route({
    method: 'GET',
    path: '/inspect/',
    operationId: 'inspectFindImageByTag',
    summary: 'Find an image by its tag',
    permissions: ['list'],
    query: { tag: requiredText(limits.tagBytesMax) },
    response: { status: 302, description: 'found' },
    handle: async ({ contree, query: { tag }, signal }) => {
      if (!isTag(tag)) throw fault('TAG_NOT_FOUND', { tag: JSON.stringify(tag) });
      return redirect(302, `${(await contree.getImage(`tag:${tag}`, signal)).uuid}/`);
    },
  }),
  route({
    method: 'GET',
    path: '/inspect/{image_uuid}',
    operationId: 'inspectImageRedirect',
    summary: 'Redirect',
    permissions: ['list'],
    response: { status: 301, description: 'moved' },
    handle: async (call) => slashed(encodeURIComponent(imageOf(call)), call.request),
  }),
  route({
    method: 'GET',
    path: '/inspect/{image_uuid}/',
    operationId: 'inspectImage',
    summary: 'Image info',
    permissions: ['list'],
    response: { status: 200, description: 'ok', schema: 'Image' },
    handle: async (call) => json(await call.contree.getImage(imageOf(call), call.signal)),
  }),
];

/** Part of a file: from `offset`, at most `length` bytes. */
function partReply(file: FileContent, offset: number): Reply {
  const headers = { 'X-File-Size': String(file.size), 'X-File-Offset': String(offset) };
  return stream(file.body, 'application/octet-stream', headers);
}

/** All of a file, or the range of it that a Range header names. */
function fileReply(file: FileContent, range?: ByteRange): Reply {
  const { start, end } = range ?? { start: 0, end: file.size };
  const reply = stream(file.body, 'application/octet-stream', {
    'Accept-Ranges': 'bytes',
    'X-File-Size': String(file.size),
    'Content-Length': String(end - start),
    ...(range && { 'Content-Range': `bytes ${start}-${end - 1}/${file.size}` }),
  });
  return range ? { ...reply, status: 206 } : reply;
}

const DOWNLOAD: readonly Route[] = [
  route({
    method: 'GET',
    path: '/inspect/{image_uuid}/download',
    operationId: 'inspectImageDownload',
    summary: 'Bytes of a file; Range is understood, and so are `offset` and `length`',
    permissions: ['list'],
    query: { path: PATH, offset: BYTES, length: BYTES },
    response: { status: 200, description: 'ok', mediaType: 'application/octet-stream' },
    handle: async (call) => {
      const { contree, query, signal, request } = call;
      const { path, ...part } = query;
      const open = (extent: ReadRange): Promise<FileContent> => contree.openFile(imageOf(call), path, extent, signal);
      if (part.offset !== undefined || part.length !== undefined) {
        return partReply(await open(present(part)), part.offset ?? 0);
      }
      const asked = byteRange(request.headers.get('range'));
      if (asked === undefined) return fileReply(await open({}));
      const probe = await open({ length: 0 });
      await abandon(probe.body);
      const range = asked(probe.size);
      if (range === undefined) return { status: 416, headers: { 'Content-Range': `bytes */${probe.size}` } };
      return fileReply(await open({ offset: range.start, length: range.end - range.start }), range);
    },
  }),
  route({
    method: 'HEAD',
    path: '/inspect/{image_uuid}/download',
    operationId: 'checkImageFile',
    summary: 'Check a file',
    permissions: ['list'],
    query: { path: PATH },
    response: { status: 200, description: 'ok' },
    handle: async (call) => {
      const file = await call.contree.openFile(imageOf(call), call.query.path, { length: 0 }, call.signal);
      await abandon(file.body);
      return { status: 200, headers: { 'Content-Length': String(file.size), 'Accept-Ranges': 'bytes' } };
    },
  }),
  route({
    method: 'GET',
    path: '/inspect/{image_uuid}/archive',
    operationId: 'inspectImageArchive',
    summary: 'A subtree as a PAX tar; names are relative to the image root',
    permissions: ['list'],
    query: { path: PATH },
    response: { status: 200, description: 'ok', mediaType: 'application/x-tar' },
    handle: async (call) =>
      stream(await call.contree.archive(imageOf(call), call.query.path, call.signal), 'application/x-tar'),
  }),
  route({
    method: 'HEAD',
    path: '/inspect/{image_uuid}/archive',
    operationId: 'checkImageArchive',
    summary: 'Check a subtree',
    permissions: ['list'],
    query: { path: PATH },
    response: { status: 200, description: 'ok' },
    handle: async (call) => {
      await call.contree.stat(imageOf(call), call.query.path, call.signal);
      return empty(200);
    },
  }),
];

const BROWSE: readonly Route[] = [
  route({
    method: 'GET',
    path: '/inspect/{image_uuid}/list',
    operationId: 'inspectImageFile',
    summary: 'List a directory; `text` answers as `ls -l` does',
    permissions: ['list'],
    query: { path: PATH, text: flag() },
    response: { status: 200, description: 'ok', schema: 'DirectoryList' },
    handle: async (call) => {
      const listing = await call.contree.listDirectory(imageOf(call), call.query.path, call.signal);
      return call.query.text ? plain(formatListing(listing.files)) : json(listing);
    },
  }),
  route({
    method: 'GET',
    path: '/inspect/{image_uuid}/stat',
    operationId: 'inspectImageStat',
    summary: 'What is at a path; a symlink at its end is not followed',
    permissions: ['list'],
    query: { path: PATH },
    response: { status: 200, description: 'ok', schema: 'FileItem' },
    handle: async (call) => json(await call.contree.stat(imageOf(call), call.query.path, call.signal)),
  }),
  route({
    method: 'GET',
    path: '/inspect/{image_uuid}/grep',
    operationId: 'inspectImageGrep',
    summary: 'Search file contents; no match is an empty answer',
    permissions: ['list'],
    query: {
      pattern: requiredTexts(),
      path: texts(),
      glob: texts(),
      max_count: integer(1, 1_000_000),
      max_total: integer(1, 100_000),
      case: choice('sensitive', 'insensitive', 'smart'),
      before: integer(0, 1_000),
      after: integer(0, 1_000),
    },
    response: { status: 200, description: 'ok', schema: 'GrepResult' },
    handle: async (call) => {
      const { pattern, path, glob, max_count, max_total, ...same } = call.query;
      const renamed = { patterns: pattern, paths: path, globs: glob, maxCount: max_count, maxTotal: max_total };
      return json(await call.contree.grep(imageOf(call), present({ ...renamed, ...same }), call.signal));
    },
  }),
  route({
    method: 'GET',
    path: '/inspect/{image_uuid}/diff',
    operationId: 'inspectImageDiff',
    summary: 'What changed from this image to the image `to`',
    permissions: ['list'],
    query: { to: requiredText(limits.tagBytesMax + 4), path: text(), patch: flag(), limit: integer(1, 1_000_000) },
    response: { status: 200, description: 'ok', schema: 'DiffResult' },
    handle: async (call) => {
      const { to, ...query } = call.query;
      const target = imageOf({ path: { image_uuid: to } });
      return json(await call.contree.diff(imageOf(call), target, present(query), call.signal));
    },
  }),
];

export const INSPECT_ROUTES: readonly Route[] = [...LOOKUP, ...DOWNLOAD, ...BROWSE];
