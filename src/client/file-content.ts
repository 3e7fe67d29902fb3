import type { FileContent, ReadQuery } from '../contract/inspect.ts';
import type { About } from './faults.ts';
import type { Requester } from './requester.ts';
import type { ServerAnswer, Outgoing } from './transport.ts';

interface Reading extends ReadQuery {
  readonly about: About;
}

/**
 * Opens a file for reading from an offset. Our servers send only the requested part and say so (`X-File-Offset`).
 * Others send the whole file, and the rest is skipped here.
 */
export async function openRemoteFile(
  requester: Requester,
  request: Outgoing,
  { path, offset, length, about }: Reading,
  signal?: AbortSignal,
): Promise<FileContent> {
  const answer = await requester.open({ ...request, query: { ...request.query, offset, length } }, about, signal);
  const size = wholeSize(answer) ?? (await sizeOf(requester, request, about, signal));
  const partial = offset !== undefined || length !== undefined;
  const served = answer.headers['x-file-offset'] !== undefined;
  return { path, size, body: partial && !served ? slice(answer, offset ?? 0, length ?? Infinity) : answer };
}

function wholeSize({ headers }: ServerAnswer): number | undefined {
  const text = headers['x-file-size'] ?? headers['content-length'];
  return typeof text === 'string' && /^\d{1,16}$/u.test(text) ? Number(text) : undefined;
}

async function sizeOf(requester: Requester, request: Outgoing, about: About, signal?: AbortSignal): Promise<number> {
  const answer = await requester.open({ ...request, method: 'HEAD' }, about, signal);
  answer.resume();
  return wholeSize(answer) ?? 0;
}

async function* slice(body: AsyncIterable<Uint8Array>, offset: number, length: number): AsyncGenerator<Uint8Array> {
  let position = 0;
  if (length === 0) return;
  for await (const chunk of body) {
    const start = Math.max(0, offset - position);
    const end = Math.min(chunk.byteLength, offset + length - position);
    if (start < end) yield chunk.subarray(start, end);
    position += chunk.byteLength;
    if (position >= offset + length) return;
  }
}
