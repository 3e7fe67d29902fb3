import type { File } from '../../contract/file.ts';
import { isFault } from '../../contract/errors.ts';
import type { FileContent, ReadRange } from '../../contract/inspect.ts';
import { formatListing, formatTotal } from '../../std/listing.ts';
import { abandon, empty, json, plain, stream, type HttpReply } from '../reply.ts';
import { byteRange, type ByteRange } from './byte-range.ts';
import type { Call, Handlers } from './call.ts';
import { uploadOf } from './parse.ts';

/** Part of a file: from `offset`, at most `length` bytes. */
function partReply(file: FileContent, type: string, offset: number): HttpReply {
  const headers = { 'X-File-Size': String(file.size), 'X-File-Offset': String(offset) };
  return stream(file.body, type, headers);
}

/** Answers with a file, or with the part that a Range header selects. */
function fileReply(file: FileContent, type: string, range?: ByteRange): HttpReply {
  const { start, end } = range ?? { start: 0, end: file.size };
  const reply = stream(file.body, type, {
    'Accept-Ranges': 'bytes',
    'X-File-Size': String(file.size),
    'Content-Length': String(end - start),
    ...(range && { 'Content-Range': `bytes ${start}-${end - 1}/${file.size}` }),
  });
  return range ? { ...reply, status: 206 } : reply;
}

export const FILE_HANDLERS: NonNullable<Handlers['files']> = {
  list: async ({ contree, subject: [image], query, wireQuery, signal }) => {
    const listing = await contree.files.list(image, query, signal);
    if (!wireQuery.text) return json(listing);
    return plain(formatTotal(listing.files) + formatListing(listing.files));
  },
  read: async ({ contree, subject: [image], query, wireQuery, signal, request }) => {
    const { path, ...part } = query;
    const type = wireQuery.text ? 'text/plain; charset=utf-8' : 'application/octet-stream';
    const open = (range: ReadRange): Promise<FileContent> => contree.files.read(image, { path, ...range }, signal);
    if (part.offset !== undefined || part.length !== undefined)
      return partReply(await open(part), type, part.offset ?? 0);
    const asked = byteRange(request.headers.get('range'));
    if (asked === undefined) return fileReply(await open({}), type);
    const probe = await open({ length: 0 });
    await abandon(probe.body);
    const range = asked(probe.size);
    if (range === undefined) return { status: 416, headers: { 'Content-Range': `bytes */${probe.size}` } };
    return fileReply(await open({ offset: range.start, length: range.end - range.start }), type, range);
  },
  archive: async ({ contree, subject: [image], query, signal }) => {
    const body = await contree.files.archive(image, query, signal);
    return stream(body, 'application/x-tar', { 'Content-Disposition': attachment(query.path) });
  },
};

/**
 * Returns the header under which browsers save the archive of a path: `etc_ssh.tar` for `/etc/ssh` (contract of the
 * hosted service, RFC 6266 for what is not ASCII).
 */
function attachment(path: string): string {
  const name = `${path.split('/').filter(Boolean).join('_') || 'root'}.tar`;
  const plainName = name.replaceAll(/[^\w.+@ -]/gu, '_');
  const extended = plainName === name ? '' : `; filename*=UTF-8''${encodeURIComponent(name.toWellFormed())}`;
  return `attachment; filename="${plainName}"${extended}`;
}

async function uploadNamed({ contree, signal }: Pick<Call, 'contree' | 'signal'>, name: string): Promise<File> {
  return contree.uploads.get(uploadOf(name), signal);
}

/** HEAD answers have no body, not even for an error. */
async function exists(look: Promise<unknown>): Promise<HttpReply> {
  try {
    await look;
    return empty(200);
  } catch (error) {
    if (isFault(error)) return empty(error.httpStatus);
    throw error;
  }
}

export const UPLOAD_HANDLERS: NonNullable<Handlers['uploads']> = {
  list: async (call) => {
    const { contree, query, wireQuery, signal } = call;
    const name = wireQuery.sha256 ?? wireQuery.uuid;
    if (name === undefined) return json({ files: await contree.uploads.list(query, signal) });
    const { uuid, sha256, size } = await uploadNamed(call, name);
    return json({ uuid, sha256, size });
  },
};

/** The HEAD requests of the hosted contract. */
export const WIRE_FILES: Pick<
  Handlers['wireOnly'],
  'checkFile' | 'checkFileExists' | 'checkImageFile' | 'checkImageArchive'
> = {
  checkFile: async (call) => exists(uploadNamed(call, call.query.sha256 ?? call.query.uuid ?? '')),
  checkFileExists: async ({ contree, subject: [name], signal }) => exists(contree.uploads.get(name, signal)),
  checkImageFile: async ({ contree, subject: [image], query: { path }, signal }) => {
    const file = await contree.files.read(image, { path, length: 0 }, signal);
    await abandon(file.body);
    return { status: 200, headers: { 'Content-Length': String(file.size), 'Accept-Ranges': 'bytes' } };
  },
  checkImageArchive: async ({ contree, subject: [image], query, signal }) => {
    await abandon(await contree.files.archive(image, query, signal));
    return empty(200);
  },
};
