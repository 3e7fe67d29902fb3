import { randomUUID } from 'node:crypto';
import { type FileHandle, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { diskFault } from '../../store/disk.ts';
import { writeFully } from '../../std/files.ts';

/** Smallest write to disk. */
const WRITE_BYTES_MIN = 512 * 1024;
const READ_BYTES = 256 * 1024;

/**
 * Temporary file that is written once from start to end and can be read meanwhile. It has no name, so nothing of it
 * survives its owner, not even after a crash.
 */
export class Spool implements AsyncDisposable {
  readonly #file: FileHandle;
  #pending: Uint8Array[] = [];
  #pendingBytes = 0;
  #bytes = 0;
  #ended = false;
  #failure: { readonly error: unknown } | undefined;
  #progress = Promise.withResolvers<void>();

  private constructor(file: FileHandle) {
    this.#file = file;
  }

  /** Creates the file in `folder`, on the file system that has room for it. */
  static async create(folder: string): Promise<Spool> {
    const path = join(folder, `spool-${randomUUID()}`);
    const file = await open(path, 'wx+', 0o600);
    await rm(path);
    return new Spool(file);
  }

  /** Returns the file for random access, after `fill` has resolved. */
  get file(): FileHandle {
    return this.#file;
  }

  /** Writes a whole source. Its fault is passed to every reader too. Rejects with DISK_FULL. */
  async fill(source: AsyncIterable<Uint8Array>): Promise<void> {
    try {
      for await (const chunk of source) {
        this.#pending.push(chunk);
        this.#pendingBytes += chunk.byteLength;
        if (this.#pendingBytes >= WRITE_BYTES_MIN) await this.#flush();
      }
      await this.#flush();
    } catch (error) {
      this.#failure = { error: diskFault(error) };
      throw this.#failure.error;
    } finally {
      this.#ended = true;
      this.#progress.resolve();
    }
  }

  /** Streams the bytes from the start; waits for bytes that have not arrived yet. */
  async *read(): AsyncGenerator<Uint8Array> {
    let position = 0;
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure.error;
      if (position < this.#bytes) {
        const chunk = Buffer.allocUnsafe(Math.min(READ_BYTES, this.#bytes - position));
        const { bytesRead } = await this.#file.read(chunk, 0, chunk.length, position);
        position += bytesRead;
        yield chunk.subarray(0, bytesRead);
      } else if (this.#ended) {
        return;
      } else {
        await this.#progress.promise;
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close();
  }

  async #flush(): Promise<void> {
    if (this.#pendingBytes === 0) return;
    const [chunks, bytes] = [this.#pending, this.#pendingBytes];
    this.#pending = [];
    this.#pendingBytes = 0;
    await writeFully(this.#file, chunks, this.#bytes);
    this.#bytes += bytes;
    this.#progress.resolve();
    this.#progress = Promise.withResolvers();
  }
}
