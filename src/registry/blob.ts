import { fault } from '../contract/errors.ts';
import { limits } from '../contract/limits.ts';
import { StreamDigest } from '../std/streams.ts';
import type { RegistryClient } from './client.ts';
import { type Digest, fromHex } from './digest.ts';
import { type HttpResponse, NetworkError, networkFailure } from './transport.ts';

/** Progress below this before a connection breaks counts as none. */
const PROGRESS_BYTES_MIN = 64 * 1024;

export interface BlobSource {
  readonly client: RegistryClient;
  readonly repository: string;
  readonly digest: Digest;
  readonly bytes: number;
}

/**
 * Streams a blob and verifies it. An interrupted transfer is resumed (with a Range request; if a registry ignores it,
 * the blob is read from the start and the known part is skipped). Faults: DIGEST_MISMATCH for wrong, missing or surplus
 * bytes; REGISTRY_*.
 */
export async function* readBlob(source: BlobSource, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const received = new StreamDigest();
  for (let failures = 0; received.bytes < source.bytes;) {
    const before = received.bytes;
    const { response, skipped } = await openAt(source, before, signal);
    let broken: NetworkError | undefined;
    try {
      yield* received.through(within(source, response, { skipped, done: before }));
    } catch (error) {
      broken = passing(error, response.url, signal);
    } finally {
      response.body.destroy();
    }
    const done = received.bytes;
    if (done === source.bytes) break;
    if (broken === undefined && done === before) throw mismatch(source, `none (it ends after ${done} bytes)`);
    failures = done - before < PROGRESS_BYTES_MIN ? failures + 1 : 0;
    if (failures > limits.registryRetriesMax) throw unreachable(source, broken);
    await source.client.backoff(failures, signal);
  }
  const actual = fromHex(received.sha256());
  if (actual !== source.digest) throw mismatch(source, actual);
}

/** Requests the blob from an offset on. `skipped` is the length of the part of the response that is already known. */
async function openAt(
  { client, repository, digest, bytes }: BlobSource,
  offset: number,
  signal: AbortSignal,
): Promise<{ response: HttpResponse; skipped: number }> {
  const response = await client.send(
    {
      method: 'GET',
      url: client.url(`/v2/${repository}/blobs/${digest}`),
      headers: offset === 0 ? {} : { range: `bytes=${offset}-` },
      scope: `repository:${repository}:pull`,
    },
    signal,
  );
  if (response.status === 200) return { response, skipped: offset };
  const range = /^bytes (\d+)-/iu.exec(response.headers['content-range'] ?? '');
  if (response.status === 206 && range?.[1] === String(offset)) return { response, skipped: 0 };
  await response.body.dump();
  if (response.status === 416) throw mismatch({ digest, bytes }, `none (it ends after ${offset} bytes)`);
  const missing = fault('REGISTRY_PROTOCOL', {
    registry: client.registry,
    reason: `it lacks the blob ${digest} that the manifest names`,
  });
  throw client.refusal(response, missing);
}

/** Yields the new part of a response, never more than the size of the blob. */
async function* within(
  source: BlobSource,
  response: HttpResponse,
  { skipped, done }: { readonly skipped: number; readonly done: number },
): AsyncGenerator<Uint8Array> {
  let skip = skipped;
  let left = source.bytes - done;
  for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
    const part = chunk.subarray(Math.min(skip, chunk.byteLength));
    skip -= chunk.byteLength - part.byteLength;
    left -= part.byteLength;
    if (left < 0) throw mismatch(source, 'none (it is longer)');
    if (part.byteLength > 0) yield part;
  }
}

/** Returns an error that a further request may resolve; throws any other. */
function passing(error: unknown, url: URL, signal: AbortSignal): NetworkError {
  const failure = networkFailure(error, url, signal);
  if (failure instanceof NetworkError) return failure;
  throw failure;
}

function unreachable({ client }: BlobSource, cause: NetworkError | undefined): Error {
  const reason = cause?.message ?? 'it stopped sending';
  return fault('REGISTRY_UNREACHABLE', { registry: client.registry, reason }, { cause });
}

function mismatch({ digest, bytes }: Pick<BlobSource, 'digest' | 'bytes'>, actual: string): Error {
  return fault('DIGEST_MISMATCH', { what: `blob of ${bytes} bytes`, expected: digest, actual });
}
