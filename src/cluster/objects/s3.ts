import {
  AbortMultipartUploadCommand,
  CreateMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadBucketCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
  UploadPartCommand,
  type CompletedPart,
  type ListMultipartUploadsCommandInput,
  type ListMultipartUploadsCommandOutput,
  type UploadPartCommandInput,
} from '@aws-sdk/client-s3';
import { createHash, hash } from 'node:crypto';
import { open, type FileHandle } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { fault } from '../../contract/errors.ts';
import { settlesWithin, untilAborted } from '../../std/abort.ts';
import { matching } from '../../std/streams.ts';
import type { ObjectsAddress } from './address.ts';
import type { ObjectEntry, ObjectName, ObjectStore } from './object-store.ts';
import { BrokenOff, rest, retried, type RetryPolicy, statusOf } from './retry.ts';

/** Files above this are sent in parts. A part is in memory while it is sent, so that it can be sent again. */
const PART_BYTES = 16 * 1024 * 1024;
/** Most parts of an upload (S3 API, "Multipart upload limits"). */
const PARTS_MAX = 10_000;
/** Most keys of one request to delete (S3 API, DeleteObjects). */
const DELETED_AT_ONCE = 1_000;
/** Progress after which failures of a download are counted anew. */
const PROGRESS_BYTES = 1024 * 1024;
const CONNECT_MS = 10_000;
/** Longest wait for the end of an upload that is given up. */
const CLEAN_UP_MS = 10_000;
/** Region that signatures name where a service of its own endpoint has none. */
const REGION_DEFAULT = 'us-east-1';

/** One attempt at a request. */
type Attempt<Value> = (client: S3Client, options: { readonly abortSignal: AbortSignal }) => Promise<Value>;

/** Local file that is stored. */
interface Source {
  readonly file: FileHandle;
  readonly damaged: (reason: string) => Error;
}

/** Objects in a bucket of a service with the API of Amazon S3. */
export class S3Objects implements ObjectStore {
  readonly #client: S3Client;
  readonly #bucket: string;
  readonly #prefix: string;
  readonly #policy: RetryPolicy;

  constructor({ bucket, prefix, endpoint, region, pathStyle }: ObjectsAddress, policy: RetryPolicy) {
    this.#bucket = bucket;
    this.#prefix = prefix;
    this.#policy = policy;
    this.#client = new S3Client({
      ...(endpoint !== undefined && { endpoint }),
      // Without an endpoint the client finds it as usual (AWS_REGION, its configuration file).
      ...((region ?? endpoint) !== undefined && { region: region ?? REGION_DEFAULT }),
      forcePathStyle: pathStyle,
      // Ours count progress, too.
      maxAttempts: 1,
      // Ours are sha256, which name the objects anyway.
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
      requestHandler: { connectionTimeout: CONNECT_MS, socketTimeout: policy.idleMs },
    });
  }

  async check(signal: AbortSignal): Promise<void> {
    await this.#tried(
      (client, options) => client.send(new HeadBucketCommand({ Bucket: this.#bucket }), options),
      signal,
    );
  }

  async put(object: Parameters<ObjectStore['put']>[0], signal: AbortSignal): Promise<void> {
    if (object.isNew !== true && (await this.#has(object, signal))) return;
    if ('content' in object) return await this.#putWhole(object, object.content, signal);
    const { path } = object;
    const damaged = (reason: string): Error => fault('STORE_CORRUPT', { what: path, reason });
    await using file = await open(path, 'r');
    if (object.bytes > PART_BYTES) return await this.#putParts(object, { file, damaged }, signal);
    const content = await readPart(file, 0, object.bytes);
    if (hash('sha256', content, 'hex') !== object.sha256) throw damaged('its content is not that of its digest');
    await this.#putWhole(object, content, signal);
  }

  async putBytes(prefix: string, content: Uint8Array, signal: AbortSignal): Promise<ObjectName> {
    const sha256 = hash('sha256', content, 'hex');
    const object = { key: `${prefix}${sha256}`, sha256, bytes: content.byteLength };
    await this.put({ ...object, content }, signal);
    return object;
  }

  async *read(object: ObjectName, signal: AbortSignal): AsyncIterable<Uint8Array> {
    yield* matching(this.#resumed(object, signal), object, (reason) => damagedObject(object.key, reason));
  }

  async head(key: string, signal: AbortSignal): Promise<ObjectEntry | undefined> {
    const request = new HeadObjectCommand(this.#at(key));
    const found = await this.#found((client, options) => client.send(request, options), signal);
    return found && { key, bytes: found.ContentLength ?? 0, modifiedMs: found.LastModified?.getTime() ?? 0 };
  }

  async delete(keys: readonly string[], signal: AbortSignal): Promise<void> {
    for (let at = 0; at < keys.length; at += DELETED_AT_ONCE) {
      const objects = keys.slice(at, at + DELETED_AT_ONCE).map((key) => ({ Key: `${this.#prefix}${key}` }));
      const request = { Bucket: this.#bucket, Delete: { Objects: objects, Quiet: true } };
      await this.#tried(async (client, options) => {
        const { Errors: [error] = [] } = await client.send(new DeleteObjectsCommand(request), options);
        if (error !== undefined && error.Code !== 'NoSuchKey') throw new BrokenOff(`${error.Code}: ${error.Message}`);
      }, signal);
    }
  }

  async *list(prefix: string, signal: AbortSignal): AsyncIterable<ObjectEntry> {
    let after: string | undefined;
    do {
      const request = { Bucket: this.#bucket, Prefix: `${this.#prefix}${prefix}`, ContinuationToken: after };
      const page = await this.#tried(
        (client, options) => client.send(new ListObjectsV2Command(request), options),
        signal,
      );
      for (const { Key = '', Size = 0, LastModified } of page.Contents ?? []) {
        yield { key: Key.slice(this.#prefix.length), bytes: Size, modifiedMs: LastModified?.getTime() ?? 0 };
      }
      after = page.IsTruncated === true ? page.NextContinuationToken : undefined;
    } while (after !== undefined);
  }

  async endUploads(begunBeforeMs: number, signal: AbortSignal): Promise<number> {
    let ended = 0;
    let markers: Pick<ListMultipartUploadsCommandInput, 'KeyMarker' | 'UploadIdMarker'> | undefined = {};
    while (markers !== undefined) {
      const request = new ListMultipartUploadsCommand({ Bucket: this.#bucket, Prefix: this.#prefix, ...markers });
      const page: ListMultipartUploadsCommandOutput = await this.#tried(
        (client, options) => client.send(request, options),
        signal,
      );
      for (const { Key, UploadId, Initiated } of page.Uploads ?? []) {
        if ((Initiated?.getTime() ?? 0) >= begunBeforeMs) continue;
        const end = new AbortMultipartUploadCommand({ Bucket: this.#bucket, Key, UploadId });
        if ((await this.#found((client, options) => client.send(end, options), signal)) !== undefined) ended += 1;
      }
      const { IsTruncated, NextKeyMarker, NextUploadIdMarker } = page;
      markers = IsTruncated === true ? { KeyMarker: NextKeyMarker, UploadIdMarker: NextUploadIdMarker } : undefined;
    }
    return ended;
  }

  [Symbol.dispose](): void {
    this.#client.destroy();
  }

  #at(key: string): { readonly Bucket: string; readonly Key: string } {
    return { Bucket: this.#bucket, Key: `${this.#prefix}${key}` };
  }

  async #has({ key, bytes }: ObjectName, signal: AbortSignal): Promise<boolean> {
    return (await this.head(key, signal))?.bytes === bytes;
  }

  /** Makes attempts at a request. Rejects with a fault, or the reason of the signal. */
  async #tried<Value>(attempt: Attempt<Value>, signal: AbortSignal): Promise<Value> {
    return await retried(async () => attempt(this.#client, { abortSignal: signal }), this.#policy, signal);
  }

  /** Makes attempts at a request, too; undefined where the store has no such object. */
  async #found<Value>(attempt: Attempt<Value>, signal: AbortSignal): Promise<Value | undefined> {
    return await this.#tried(async (client, options) => {
      try {
        return await attempt(client, options);
      } catch (error) {
        if (statusOf(error) === 404) return undefined;
        throw error;
      }
    }, signal);
  }

  async #putWhole({ key, sha256 }: ObjectName, content: Uint8Array, signal: AbortSignal): Promise<void> {
    const ChecksumSHA256 = Buffer.from(sha256, 'hex').toString('base64');
    const request = { ...this.#at(key), Body: content, ContentLength: content.byteLength, ChecksumSHA256 };
    await this.#tried((client, options) => client.send(new PutObjectCommand(request), options), signal);
  }

  async #putParts(object: ObjectName, source: Source, signal: AbortSignal): Promise<void> {
    const begin = new CreateMultipartUploadCommand({ ...this.#at(object.key), ChecksumAlgorithm: 'SHA256' });
    const { UploadId } = await this.#tried((client, options) => client.send(begin, options), signal);
    const upload = { ...this.#at(object.key), UploadId };
    try {
      const parts = await this.#sendParts(object, source, { upload, signal });
      const complete = new CompleteMultipartUploadCommand({ ...upload, MultipartUpload: { Parts: parts } });
      // An attempt whose answer was lost may have completed it: then there is no such upload any more.
      const completed = await this.#found((client, options) => client.send(complete, options), signal);
      if (completed === undefined && !(await this.#has(object, signal))) throw unknownUpload(object.key);
    } catch (error) {
      const end = new AbortMultipartUploadCommand(upload);
      await this.#client.send(end, { abortSignal: AbortSignal.timeout(CLEAN_UP_MS) }).catch(() => undefined);
      throw error;
    }
  }

  async #sendParts(
    { bytes, sha256 }: ObjectName,
    { file, damaged }: Source,
    { upload, signal }: { readonly upload: UploadOf; readonly signal: AbortSignal },
  ): Promise<CompletedPart[]> {
    const size = Math.max(PART_BYTES, Math.ceil(bytes / PARTS_MAX));
    const digest = createHash('sha256');
    const parts: CompletedPart[] = [];
    for (let at = 0; at < bytes; at += size) {
      const Body = await readPart(file, at, Math.min(size, bytes - at));
      digest.update(Body);
      const ChecksumSHA256 = hash('sha256', Body, 'base64');
      const PartNumber = parts.length + 1;
      const request = { ...upload, PartNumber, Body, ContentLength: Body.byteLength, ChecksumSHA256 };
      const { ETag } = await this.#tried(
        (client, options) => client.send(new UploadPartCommand(request), options),
        signal,
      );
      parts.push({ PartNumber, ETag, ChecksumSHA256 });
    }
    if (digest.digest('hex') !== sha256) throw damaged('its content is not that of its digest');
    return parts;
  }

  /** Yields an object. What breaks off is continued, as long as it gets on. */
  async *#resumed({ key, bytes }: ObjectName, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    let [at, countedAt, failures] = [0, 0, 0];
    for (;;) {
      try {
        for await (const chunk of this.#from(key, { at, bytes }, signal)) {
          at += chunk.byteLength;
          yield chunk;
        }
        if (at >= bytes) return;
        throw new BrokenOff(`it ended after ${at} of ${bytes} bytes`);
      } catch (error) {
        if (isMissingKey(error)) throw fault('OBJECT_MISSING', { key }, { cause: error });
        if (at - countedAt >= PROGRESS_BYTES) [countedAt, failures] = [at, 0];
        failures += 1;
        await rest(error, failures, { policy: this.#policy, signal });
      }
    }
  }

  /** Yields an object from a position on, in one attempt. */
  async *#from(
    key: string,
    { at, bytes }: { readonly at: number; readonly bytes: number },
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array> {
    const request = new GetObjectCommand({ ...this.#at(key), ...(at > 0 && { Range: `bytes=${at}-` }) });
    const { Body, ContentLength, ContentRange } = await this.#client.send(request, { abortSignal: signal });
    const body = Body as Readable;
    try {
      if (at > 0 && !ContentRange?.startsWith(`bytes ${at}-`))
        throw new BrokenOff('another part was sent than asked for');
      const total = at + (ContentLength ?? bytes - at);
      if (total !== bytes) throw damagedObject(key, `there are ${total} bytes instead of ${bytes}`);
      yield* withoutStandstill(body, this.#policy.idleMs, signal);
    } finally {
      body.destroy();
    }
  }
}

type UploadOf = Pick<UploadPartCommandInput, 'Bucket' | 'Key' | 'UploadId'>;

/** Passes chunks on. Throws BrokenOff when none comes for so long, and the reason of the signal. */
async function* withoutStandstill(body: Readable, idleMs: number, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const chunks = body[Symbol.asyncIterator]() as AsyncIterator<Uint8Array>;
  for (;;) {
    const next = chunks.next();
    // Its error is that of the race, or of nobody any more.
    next.catch(() => undefined);
    if (!(await settlesWithin(untilAborted(next, signal), idleMs))) {
      throw new BrokenOff(`no byte came for ${idleMs} ms`);
    }
    const { done, value } = await untilAborted(next, signal);
    if (done === true) return;
    yield value;
  }
}

/** Reads a part of a file. One that has become shorter gives fewer bytes. */
async function readPart(file: FileHandle, position: number, bytes: number): Promise<Buffer> {
  const part = Buffer.allocUnsafeSlow(bytes);
  let filled = 0;
  while (filled < bytes) {
    const { bytesRead } = await file.read(part, filled, bytes - filled, position + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return part.subarray(0, filled);
}

function isMissingKey(error: unknown): boolean {
  return statusOf(error) === 404 && error instanceof Error && error.name !== 'NoSuchBucket';
}

function damagedObject(key: string, reason: string): Error {
  return fault('OBJECT_DAMAGED', { key, reason });
}

function unknownUpload(key: string): Error {
  return fault('OBJECTS_UNAVAILABLE', { reason: `it has forgotten the upload of ${key}` });
}
