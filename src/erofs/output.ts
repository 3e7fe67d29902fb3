import type { FileHandle } from 'node:fs/promises';
import { fault } from '../contract/errors.ts';
import { roundUp } from './layout.ts';
import { writeFully } from '../std/files.ts';

const BUFFER_BYTES = 1024 * 1024;
/** Unit in which zeros are left out of the file; a file system stores such holes for free. */
const HOLE_BYTES = 64 * 1024;
const zeros = Buffer.alloc(HOLE_BYTES);

/**
 * Sequential output to a new file: collects into large writes and keeps one write going while the next is collected.
 * A method that returns a promise must be awaited before the next call.
 */
export class LayerOutput {
  readonly #file: FileHandle;
  readonly #bytesMax: number;
  #buffer = Buffer.allocUnsafe(BUFFER_BYTES);
  #spare = Buffer.allocUnsafe(BUFFER_BYTES);
  #used = 0;
  /** File offset of the buffer. */
  #base: number;
  #writing: Promise<void> = Promise.resolve();
  #failure: unknown;

  constructor(file: FileHandle, start: number, bytesMax: number) {
    this.#file = file;
    this.#base = start;
    this.#bytesMax = bytesMax;
  }

  get position(): number {
    return this.#base + this.#used;
  }

  append(bytes: Uint8Array): Promise<void> | undefined {
    if (this.position + bytes.length > this.#bytesMax)
      throw fault('LAYER_LIMIT', { what: 'bytes', limit: this.#bytesMax });
    if (bytes.length >= BUFFER_BYTES - this.#used) return this.#appendSlowly(bytes);
    this.#buffer.set(bytes, this.#used);
    this.#used += bytes.length;
    return undefined;
  }

  /** Fills with zeros up to a multiple of `unit`, which is at most 64 KiB. */
  pad(unit: number): Promise<void> | undefined {
    return this.append(zeros.subarray(0, roundUp(this.position, unit) - this.position));
  }

  /** Resolves when everything is written to the file, which then ends at `position`. */
  async finish(): Promise<void> {
    await this.#rotate();
    await this.#settled();
    await this.#file.truncate(this.position);
  }

  /** Waits for the write in progress and ignores its result; for cleanup after a fault. */
  async abandon(): Promise<void> {
    await this.#writing;
  }

  async #appendSlowly(bytes: Uint8Array): Promise<void> {
    let rest = bytes;
    while (rest.length > 0) {
      const part = rest.subarray(0, BUFFER_BYTES - this.#used);
      this.#buffer.set(part, this.#used);
      this.#used += part.length;
      rest = rest.subarray(part.length);
      if (this.#used === BUFFER_BYTES) await this.#rotate();
    }
  }

  async #rotate(): Promise<void> {
    await this.#settled();
    const full = this.#buffer.subarray(0, this.#used);
    this.#writing = this.#write(full, this.#base).catch((error: unknown) => {
      this.#failure = error;
    });
    this.#base += this.#used;
    this.#used = 0;
    [this.#buffer, this.#spare] = [this.#spare, this.#buffer];
  }

  async #settled(): Promise<void> {
    await this.#writing;
    if (this.#failure !== undefined) throw fullDiskFault(this.#failure);
  }

  async #write(bytes: Buffer, position: number): Promise<void> {
    let start = 0;
    while (start < bytes.length) {
      let end = start;
      while (end < bytes.length && !isHole(bytes, end)) end += HOLE_BYTES;
      end = Math.min(end, bytes.length);
      if (end > start) await writeFully(this.#file, [bytes.subarray(start, end)], position + start);
      start = end === start ? end + HOLE_BYTES : end;
    }
  }
}

/** Converts a "disk full" error to its fault; returns any other error unchanged. */
export function fullDiskFault(error: unknown): unknown {
  const code = typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined;
  return code === 'ENOSPC' || code === 'EDQUOT' ? fault('DISK_FULL', {}, { cause: error }) : error;
}

function isHole(bytes: Buffer, at: number): boolean {
  const end = Math.min(at + HOLE_BYTES, bytes.length);
  return bytes.compare(zeros, 0, end - at, at, end) === 0;
}
