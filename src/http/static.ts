import { readFile, stat } from 'node:fs/promises';
import { extname, join, normalize } from 'node:path';
import { fault } from '../contract/errors.ts';
import type { Mount } from './app.ts';

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.ico': 'image/x-icon',
  '.json': 'application/json',
};

/** The console may run its own code and speak to its own server, and nothing else. */
const POLICY = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'";

/** Serves the files of a folder at `/`, its `index.html` for the folder itself; undefined when there is none. */
export async function folderMount(folder: string): Promise<Mount | undefined> {
  if (!(await isFile(join(folder, 'index.html')))) return undefined;
  return {
    path: '/',
    open: true,
    fetch: async (request) => {
      const { pathname } = new URL(request.url);
      const path = filePath(pathname);
      const type = path === undefined ? undefined : TYPES[extname(path)];
      if (path === undefined || type === undefined || !(await isFile(join(folder, path)))) {
        throw fault('ROUTE_NOT_FOUND', { route: `${request.method} ${pathname.slice(0, 200)}` });
      }
      const headers = { 'Content-Type': type, 'Cache-Control': 'no-cache', 'Content-Security-Policy': POLICY };
      const body = request.method === 'HEAD' ? null : new Uint8Array(await readFile(join(folder, path)));
      return new Response(body, { headers });
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

async function isFile(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isFile() ?? false;
}
