import { createHash } from 'node:crypto';
import { fault } from '../contract/errors.ts';
import { limits } from '../contract/limits.ts';
import type { RegistryClient } from './client.ts';
import { type Digest, finish } from './digest.ts';
import { type HttpResponse, NetworkError, networkFailure } from './transport.ts';

/** A connection that brought less than this before it broke counts as one that brought nothing. */
const PROGRESS_BYTES_MIN = 64 * 1024;

export interface BlobSource {
  readonly client: RegistryClient;
  readonly repository: string;
  readonly digest: Digest;
  readonly bytes: number;
}

/**
 * Streams a blob, verified. An interrupted transfer goes on where it stopped (a Range request; a registry that ignores
 * it is read again from the start, and what is known already is skipped).
 * Faults: DIGEST_MISMATCH for wrong, missing or surplus bytes; REGISTRY_*.
 */
export async function* readBlob(source: BlobSource, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const hash = createHash('sha256');
  let done = 0;
  for (let failures = 0; done < source.bytes;) {
    const before = done;
    const { response, skipped } = await openAt(source, done, signal);
    let broken: NetworkError | undefined;
    try {
      for await (const part of within(source, response, { skipped, done })) {
        hash.update(part);
        done += part.byteLength;
        yield part;
      }
    } catch (error) {
      broken = passing(error, response.url, signal);
    } finally {
      response.body.destroy();
    }
    if (done === source.bytes) break;
    if (broken === undefined && done === before) throw mismatch(source, `none (it ends after ${done} bytes)`);
    failures = done - before < PROGRESS_BYTES_MIN ? failures + 1 : 0;
    if (failures > limits.registryRetriesMax) throw unreachable(source, broken);
    await source.client.backoff(failures, signal);
  }
  const actual = finish(hash);
  if (actual !== source.digest) throw mismatch(source, actual);
}

/** Requests the blob from an offset on. `skipped` is how much of the answer is known already. */
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
  const range = /^bytes (\d+)-/u.exec(response.headers['content-range'] ?? '');
  if (response.status === 206 && range?.[1] === String(offset)) return { response, skipped: 0 };
  await response.body.dump();
  if (response.status === 416) throw mismatch({ digest, bytes }, `none (it ends after ${offset} bytes)`);
  const missing = fault('REGISTRY_PROTOCOL', {
    registry: client.registry,
    reason: `it lacks the blob ${digest} that the manifest names`,
  });
  throw client.refusal(response, missing);
}

/** The part of an answer that is new, and never more than the blob may have. */
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

/** The error as one that a further request may mend; anything else is thrown. */
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
