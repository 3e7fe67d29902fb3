import type { ConTree } from '../contract/contree.ts';
import { fault } from '../contract/errors.ts';
import { limits } from '../contract/limits.ts';
import { Cursor } from './cursor.ts';
import { systemCode, type Folder } from './folder.ts';
import type { LocalFile } from './local-set.ts';
import { NotRegular, type OpenFile } from './open-file.ts';

/** Concurrent uploads of large files: enough to keep both sides busy. */
const AT_ONCE = 4;
/** Files per bulk upload; a failed one is sent again as a whole. */
const BULK_FILES = 500;
const BULK_BYTES = 8 * 1024 * 1024;

export interface SendOptions {
  readonly signal: AbortSignal;
  readonly onFile: (done: number) => void;
}

/**
 * Uploads files of a folder and returns those that were sent. Each gets the digest and size of the bytes actually read,
 * which differ if the file was written meanwhile; a file that no longer exists is marked `gone`.
 */
export async function sendFiles(
  contree: ConTree,
  folder: Folder,
  files: readonly LocalFile[],
  options: SendOptions,
): Promise<readonly LocalFile[]> {
  using cursor = new Cursor(folder);
  const sender = new Sender(contree, cursor, options);
  const small = files.filter(({ size }) => size <= limits.bulkFileBytesMax);
  for (const batch of batches(small)) await sender.sendBatch(batch);
  await sender.sendEach(files.filter(({ size }) => size > limits.bulkFileBytesMax));
  return sender.sent;
}

class Sender {
  readonly sent: LocalFile[] = [];
  readonly #contree: ConTree;
  readonly #cursor: Cursor;
  readonly #options: SendOptions;

  constructor(contree: ConTree, cursor: Cursor, options: SendOptions) {
    this.#contree = contree;
    this.#cursor = cursor;
    this.#options = options;
  }

  async sendBatch(batch: readonly LocalFile[]): Promise<void> {
    const { signal } = this.#options;
    const read: LocalFile[] = [];
    const answers = await this.#contree.uploads.createMany(this.#contents(batch, read), signal);
    if (answers.length !== read.length) {
      throw fault('REMOTE_FAILED', { status: 201, reason: `${answers.length} answers for ${read.length} files` });
    }
    for (const [index, file] of read.entries()) this.#keep(file, answers[index] ?? file);
  }

  /** Yields whole files one after the other; those that could be read are added to `read`. */
  async *#contents(batch: readonly LocalFile[], read: LocalFile[]): AsyncGenerator<Uint8Array> {
    for (const file of batch) {
      this.#options.signal.throwIfAborted();
      const content = this.#readSmall(file);
      if (content === undefined) continue;
      read.push(file);
      yield content;
    }
  }

  /**
   * Returns the kept content of a file, or reads it. Returns undefined when it is gone or has grown too large; then it
   * is still missing and is sent individually next time.
   */
  #readSmall(file: LocalFile): Uint8Array | undefined {
    const { content } = file;
    file.content = undefined;
    if (content !== undefined) return content;
    using open = this.#open(file);
    if (open === undefined) return undefined;
    file.size = Number(open.info.size);
    return file.size > limits.bulkFileBytesMax ? undefined : open.small();
  }

  async sendEach(files: readonly LocalFile[]): Promise<void> {
    const failed = new AbortController();
    const signal = AbortSignal.any([this.#options.signal, failed.signal]);
    const left = files.values();
    const workers = Array.from({ length: AT_ONCE }, async () => {
      try {
        for (const file of left) await this.#sendOne(file, signal);
      } catch (error) {
        failed.abort(error);
        throw error;
      }
    });
    // All workers end before the folders are closed; the first failure stops the others.
    const ended = await Promise.allSettled(workers);
    if (ended.some(({ status }) => status === 'rejected')) throw signal.reason;
  }

  async #sendOne(file: LocalFile, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    using open = this.#open(file);
    if (open !== undefined) this.#keep(file, await this.#contree.uploads.create(open.content(signal), signal));
  }

  #keep(file: LocalFile, { sha256, size }: { readonly sha256: string; readonly size: number }): void {
    Object.assign(file, { sha256, size });
    this.#options.onFile(this.sent.push(file));
  }

  /** Opens a file; marks it and returns undefined when it is no longer readable. */
  #open(file: LocalFile): OpenFile | undefined {
    try {
      return this.#cursor.file(file.path);
    } catch (error) {
      if (systemCode(error) === undefined && !(error instanceof NotRegular)) throw error;
      file.gone = true;
      return undefined;
    }
  }
}

function* batches(files: readonly LocalFile[]): Generator<readonly LocalFile[]> {
  let batch: LocalFile[] = [];
  let bytes = 0;
  for (const file of files) {
    if (batch.length === BULK_FILES || bytes + file.size > BULK_BYTES) {
      yield batch;
      [batch, bytes] = [[], 0];
    }
    batch.push(file);
    bytes += file.size;
  }
  if (batch.length > 0) yield batch;
}
