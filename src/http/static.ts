import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { join, normalize } from 'node:path';
import { fault } from '../contract/errors.ts';
import type { Mount } from './app.ts';
import { toResponse } from './reply.ts';
import { mediaTypeOf } from '../std/media-type.ts';

/** Files of the console; nothing else in its folder is served. */
const SERVED = /\.(?:html|js|css|svg|png|ico|json)$/u;

/**
 * The console may run its own code and speak to its own server, and nothing else. It shows what guests have written, so it
 * has also given up every way to make text into markup (trusted types: there is no policy that could).
 */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join('; ');

const HEADERS = { 'Content-Security-Policy': POLICY, 'Referrer-Policy': 'no-referrer' } as const;

/** Serves the files of a folder at `/`, its `index.html` for the folder itself; undefined when there is none. */
export async function folderMount(folder: string): Promise<Mount | undefined> {
  if ((await fileAt(join(folder, 'index.html'))) === undefined) return undefined;
  return {
    path: '/',
    open: true,
    fetch: async (request) => {
      const { pathname } = new URL(request.url);
      const path = filePath(pathname);
      const type = path === undefined ? undefined : servedType(path);
      const bytes = path === undefined || type === undefined ? undefined : await fileAt(join(folder, path));
      if (type === undefined || bytes === undefined || !READS.has(request.method)) {
        throw fault('ROUTE_NOT_FOUND', { route: `${request.method} ${pathname.slice(0, 200)}` });
      }
      // Asked for each time, answered with the file only when it is another one: an update is seen at once. By content,
      // because packages give all their files the same time.
      const tag = `W/"${createHash('sha256').update(bytes).digest('base64url').slice(0, 22)}"`;
      const headers = { ...HEADERS, 'Content-Type': type, 'Cache-Control': 'no-cache', ETag: tag };
      if (request.headers.get('if-none-match') === tag) return new Response(null, { status: 304, headers });
      return await toResponse({ status: 200, headers, body: bytes }, request);
    },
  };
}

/** The file that a URL names, relative to the folder; undefined when it leads out of it or to a hidden file. */
function filePath(pathname: string): string | undefined {
  let decoded: string;
  try {
    decoded = decodeURIComponent(pathname);
  } catch {
    return undefined;
  }
  const path = normalize(decoded.endsWith('/') ? `${decoded}index.html` : decoded);
  return path.includes('\0') || path.split('/').some((name) => name.startsWith('.')) ? undefined : path;
}

const READS = new Set(['GET', 'HEAD']);

/** The bytes of a regular file; undefined when there is none. */
async function fileAt(path: string): Promise<Buffer | undefined> {
  const found = await stat(path).catch(() => undefined);
  return found?.isFile() ? await readFile(path) : undefined;
}

/** Content-Type of a file of the console; undefined for any other file. */
function servedType(path: string): string | undefined {
  const type = SERVED.test(path) ? mediaTypeOf(path) : undefined;
  return type?.startsWith('text/') ? `${type}; charset=utf-8` : type;
}
