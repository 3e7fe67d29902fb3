import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { join, normalize } from 'node:path';
import { fault } from '../contract/errors.ts';
import type { Mount } from './app.ts';
import { toResponse } from './reply.ts';
import { mediaTypeOf } from '../std/media-type.ts';

/** Types of the console's files; other files in its folder are not served. */
const SERVED = /\.(?:html|js|css|svg|png|ico|json)$/u;

/**
 * The console may run only its own code and connect only to its own server. Because it shows the output of guests, it
 * may not turn text into markup at all (trusted types, without any policy that could).
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

/**
 * Serves the files of a folder at `/`, and its `index.html` for the folder itself; undefined when the folder has none.
 */
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
      // Clients revalidate each time and get the file only if it has changed, so updates are visible immediately. The
      // tag is a hash of the content, because packages give all their files the same time.
      const tag = `W/"${createHash('sha256').update(bytes).digest('base64url').slice(0, 22)}"`;
      const headers = { ...HEADERS, 'Content-Type': type, 'Cache-Control': 'no-cache', ETag: tag };
      if (request.headers.get('if-none-match') === tag) return new Response(null, { status: 304, headers });
      return await toResponse({ status: 200, headers, body: bytes }, request);
    },
  };
}

/** Returns the path of a URL relative to the folder; undefined if it leads out of the folder or to a hidden file. */
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

/** Returns the content of a regular file; undefined if there is none. */
async function fileAt(path: string): Promise<Buffer | undefined> {
  const found = await stat(path).catch(() => undefined);
  return found?.isFile() ? await readFile(path) : undefined;
}

/** Returns the Content-Type of a file of the console; undefined for any other file. */
function servedType(path: string): string | undefined {
  const type = SERVED.test(path) ? mediaTypeOf(path) : undefined;
  return type?.startsWith('text/') ? `${type}; charset=utf-8` : type;
}
