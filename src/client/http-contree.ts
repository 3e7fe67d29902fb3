import { API } from '../contract/api/index.ts';
import type { Row, Rows } from '../contract/api/row.ts';
import type { ContreeServer } from '../contract/contree.ts';
import { isFault } from '../contract/errors.ts';
import type { OperationResponse } from '../contract/operation.ts';
import { followEvents } from './events.ts';
import { openRemoteFile } from './file-content.ts';
import { callRow, prepare, resolveImage } from './method.ts';
import { readPush } from './push.ts';
import type { Requester } from './requester.ts';

type Method = (...args: readonly unknown[]) => unknown;

/** ConTree over HTTP: our own engine behind its Unix socket, another server of ours, or the hosted service. */
export interface HttpContree extends ContreeServer {
  /**
   * Returns a client of the same server that also sends these headers. It shares our connections and is not disposed.
   */
  withHeaders(headers: Readonly<Record<string, string>>): HttpContree;
}

/** Makes the client of a server: one method per row of the API. `close` ends the connections when it is disposed. */
export function httpContree(requester: Requester, close: () => Promise<void> = async () => undefined): HttpContree {
  const groups = Object.entries<Rows>(API).map(([group, rows]) => [group, methodsOf(requester, rows)]);
  // Here rows are handled as plain data; their types are those of `ContreeServer`, which is mapped from the same table.
  const plain = Object.fromEntries(groups) as ContreeServer;
  return {
    ...plain,
    ...byHand(requester, plain),
    withHeaders: (headers) => httpContree(requester.withHeaders(headers)),
    [Symbol.asyncDispose]: close,
  };
}

function methodsOf(requester: Requester, rows: Rows): Readonly<Record<string, Method>> {
  const method =
    (row: Row): Method =>
    (...args) =>
      callRow(requester, row, args);
  return Object.fromEntries(Object.entries(rows).map(([name, row]) => [name, method(row)]));
}

/** Methods that need more than one request: streams, and what the hosted service lacks. */
function byHand(requester: Requester, plain: ContreeServer): Pick<ContreeServer, 'images' | 'files' | 'operations'> {
  const { images, files, operations } = plain;
  const getOperation = (operation: string, signal?: AbortSignal): Promise<OperationResponse> =>
    operations.get(operation, { output_bytes: 0 }, signal);
  return {
    images: {
      ...images,
      diff: async (image, query, signal) =>
        images.diff(image, { ...query, to: await resolveImage(requester, query.to, signal) }, signal),
      push: async function* (...args) {
        const { outgoing, about, signal } = await prepare(requester, API.images.push, args);
        yield* readPush(await requester.open(outgoing, about, signal), (line) => requester.check('PushEvent', line));
      },
    },
    files: {
      ...files,
      stat: async (image, query, signal) => {
        try {
          return await files.stat(image, query, signal);
        } catch (error) {
          const found =
            isFault(error, 'FILE_NOT_FOUND', 'ROUTE_NOT_FOUND') && (await listed(files, image, query.path, signal));
          if (!found) throw error;
          return found;
        }
      },
      read: async (image, query, signal) => {
        const { outgoing, about } = await prepare(requester, API.files.read, [image, { path: query.path }, signal]);
        return openRemoteFile(requester, outgoing, { ...query, about }, signal);
      },
    },
    operations: {
      ...operations,
      events: (operation, query = {}, signal) => followEvents({ requester, getOperation }, operation, query, signal),
    },
  };
}

/** Returns the entry of a path from the listing of its parent: the hosted service has no stat. */
async function listed(
  files: ContreeServer['files'],
  image: string,
  path: string,
  signal?: AbortSignal,
): Promise<Awaited<ReturnType<typeof files.stat>> | undefined> {
  if (path === '/') return undefined;
  const parent = path.replace(/\/[^/]*\/?$/u, '') || '/';
  const name = path.split('/').findLast(Boolean);
  const listing = await files.list(image, { path: parent }, signal).catch(() => undefined);
  const found = listing?.files.find((file) => file.path === name);
  return found && { ...found, path };
}
