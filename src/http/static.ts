import { readFile, stat } from 'node:fs/promises';
import { join, normalize } from 'node:path';
import { Hono } from 'hono';
import { compress } from 'hono/compress';
import { etag } from 'hono/etag';
import { secureHeaders } from 'hono/secure-headers';
import { fault } from '../contract/errors.ts';
import type { Mount } from './app.ts';
import { mediaTypeOf } from '../std/media-type.ts';

/** Types of the console's files; other files in its folder are not served. */
const SERVED = /\.(?:html|js|css|svg|png|ico|json)$/u;

/**
 * The console may run only its own code and connect only to its own server. Because it shows the output of guests, it
 * may not turn text into markup at all (trusted types, without any policy that could).
 */
const POLICY = {
  defaultSrc: ["'none'"],
  scriptSrc: ["'self'"],
  styleSrc: ["'self'"],
  imgSrc: ["'self'"],
  connectSrc: ["'self'"],
  baseUri: ["'none'"],
  formAction: ["'none'"],
  frameAncestors: ["'none'"],
  requireTrustedTypesFor: ["'script'"],
  trustedTypes: ["'none'"],
};

/** Not HSTS: it would hold for every port of a host, which is this machine as a rule. */
const HEADERS = { contentSecurityPolicy: POLICY, strictTransportSecurity: false, xFrameOptions: 'DENY' };

/**
 * Serves the files of a folder at `/`, and its `index.html` for the folder itself; undefined when the folder has none.
 */
export async function folderMount(folder: string): Promise<Mount | undefined> {
  if ((await fileAt(join(folder, 'index.html'))) === undefined) return undefined;
  const files = new Hono().use(secureHeaders(HEADERS), compress(), etag({ weak: true }));
  files.get('*', async (context, next) => {
    const path = filePath(new URL(context.req.url).pathname);
    const type = path === undefined ? undefined : servedType(path);
    const bytes = path === undefined || type === undefined ? undefined : await fileAt(join(folder, path));
    if (type === undefined || bytes === undefined) return await next();
    // Clients revalidate each time and get the file only if it has changed, so updates are visible immediately. The tag
    // is a hash of the content, because packages give all their files the same time.
    return context.body(new Uint8Array(bytes), 200, { 'Content-Type': type, 'Cache-Control': 'no-cache' });
  });
  files.notFound(({ req: { method, path } }) => {
    throw fault('ROUTE_NOT_FOUND', { route: `${method} ${path.slice(0, 200)}` });
  });
  // The server that this is a part of answers faults.
  files.onError((error) => {
    throw error;
  });
  return { path: '/', open: true, fetch: async (request) => await files.fetch(request) };
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
