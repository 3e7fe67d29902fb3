import type { FileHandle } from 'node:fs/promises';
import { TAR_BLOCK_BYTES } from '../../../tar/header.ts';
import { type TarEntry, TarReader } from '../../../tar/reader.ts';
import { fault, isFault } from '../../../contract/errors.ts';
import { limits } from '../../../contract/limits.ts';
import { textOf } from '../../../std/bytes.ts';

const READ_BYTES = 256 * 1024;
const ZEROS = Buffer.alloc(1024 * 1024);
const LINKS_MAX = 4;

/** Position of a member's content in the archive file. */
export interface ArchiveMember {
  readonly offset: number;
  readonly bytes: number;
}

/** Returns the name of a member without leading `./` and trailing `/`; undefined when it is not text. */
export function memberName({ path }: TarEntry): string | undefined {
  return textOf(path)
    ?.replace(/^(?:\.\/+)+/u, '')
    .replace(/\/+$/u, '');
}

/** Index of the members of an uncompressed tar file, for reading them individually and in any order. */
export class ArchiveIndex {
  readonly #file: FileHandle;
  readonly #members: ReadonlyMap<string, ArchiveMember>;
  /** Symlinks and hard links by name; `docker save` has one for a layer that occurs twice. */
  readonly #links: ReadonlyMap<string, string>;

  private constructor(
    file: FileHandle,
    members: ReadonlyMap<string, ArchiveMember>,
    links: ReadonlyMap<string, string>,
  ) {
    this.#file = file;
    this.#members = members;
    this.#links = links;
  }

  /** Reads all headers but no content. Faults: ARCHIVE_INVALID, IMAGE_LIMIT. */
  static async open(file: FileHandle, signal: AbortSignal): Promise<ArchiveIndex> {
    const members = new Map<string, ArchiveMember>();
    const links = new Map<string, string>();
    const { size } = await file.stat();
    const stream = new HeaderStream(file, size);
    const reader = new TarReader(stream);
    for (let entry = await nextEntry(reader); entry !== undefined; entry = await nextEntry(reader)) {
      signal.throwIfAborted();
      const name = memberName(entry) ?? '';
      // The bytes of a sparse member do not lie together, so it is not found; writers of images write none.
      if (entry.type === 'file' && entry.storedBytes === undefined) {
        members.set(name, { offset: stream.position, bytes: entry.size });
      }
      if (entry.type === 'symlink') links.set(name, resolveLink(name, textOf(entry.linkpath) ?? ''));
      if (entry.type === 'link') links.set(name, textOf(entry.linkpath)?.replace(/^\.\//u, '') ?? '');
      stream.skipContent(entry.storedBytes ?? entry.size);
      if (members.size + links.size > limits.archiveMembersMax) {
        throw fault('IMAGE_LIMIT', { what: 'members in an archive', limit: limits.archiveMembersMax });
      }
    }
    return new ArchiveIndex(file, members, links);
  }

  find(name: string): ArchiveMember | undefined {
    let target = name;
    for (let links = 0; links <= LINKS_MAX; links += 1) {
      const member = this.#members.get(target);
      if (member !== undefined) return member;
      const link = this.#links.get(target);
      if (link === undefined) return undefined;
      target = link;
    }
    return undefined;
  }

  /**
   * Reads a small member. Faults: ARCHIVE_INVALID when it is missing, IMAGE_LIMIT when it is larger than `bytesMax`.
   */
  async read(name: string, bytesMax: number): Promise<Buffer> {
    const member = this.find(name);
    if (member === undefined) throw fault('ARCHIVE_INVALID', { reason: `it lacks ${name}` });
    if (member.bytes > bytesMax) throw fault('IMAGE_LIMIT', { what: `bytes of ${name}`, limit: bytesMax });
    const chunks: Uint8Array[] = [];
    for await (const chunk of this.stream(member)) chunks.push(chunk);
    return Buffer.concat(chunks);
  }

  /** Streams the bytes of a member. Faults: ARCHIVE_INVALID when the file ends within it. */
  async *stream({ offset, bytes }: ArchiveMember, signal?: AbortSignal): AsyncGenerator<Uint8Array> {
    for (let done = 0; done < bytes;) {
      signal?.throwIfAborted();
      const chunk = Buffer.allocUnsafe(Math.min(READ_BYTES, bytes - done));
      const { bytesRead } = await this.#file.read(chunk, 0, chunk.length, offset + done);
      if (bytesRead === 0) throw fault('ARCHIVE_INVALID', { reason: 'it is truncated' });
      done += bytesRead;
      yield chunk.subarray(0, bytesRead);
    }
  }
}

/** Returns the next member; faults of the tar reader become faults of the archive. */
export async function nextEntry(reader: TarReader): Promise<TarEntry | undefined> {
  try {
    return await reader.next();
  } catch (error) {
    throw archiveFault(error);
  }
}

/** Converts the fault of a layer to a fault of the archive. */
export function archiveFault(error: unknown): unknown {
  if (!isFault(error, 'LAYER_MALFORMED')) return error;
  return fault('ARCHIVE_INVALID', { reason: String(error.detail['reason']) }, { cause: error });
}

/** Returns the target of a symlink relative to the root of the archive; a target outside matches no member. */
function resolveLink(name: string, target: string): string {
  const names = name.split('/').slice(0, -1);
  for (const part of target.split('/')) {
    if (part === '..') names.pop();
    else if (part !== '' && part !== '.') names.push(part);
  }
  return names.join('/');
}

/**
 * Stream of the blocks of a tar file that reads only headers: content is replaced by zeros, which need no reading.
 * After a header has been taken, its content begins at `position`.
 */
class HeaderStream implements AsyncIterable<Uint8Array> {
  readonly #file: FileHandle;
  readonly #end: number;
  #position = 0;
  #skip = 0;
  #window = { start: 0, bytes: Buffer.alloc(0) };

  constructor(file: FileHandle, end: number) {
    this.#file = file;
    this.#end = end;
  }

  get position(): number {
    return this.#position;
  }

  skipContent(bytes: number): void {
    this.#skip = Math.ceil(bytes / TAR_BLOCK_BYTES) * TAR_BLOCK_BYTES;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    while (this.#position < this.#end) {
      const chunk =
        this.#skip > 0 ? ZEROS.subarray(0, Math.min(this.#skip, this.#end - this.#position)) : await this.#block();
      this.#skip -= Math.min(this.#skip, chunk.length);
      this.#position += chunk.length;
      yield chunk;
    }
  }

  async #block(): Promise<Buffer> {
    const { start, bytes } = this.#window;
    const at = this.#position - start;
    if (at >= 0 && at + TAR_BLOCK_BYTES <= bytes.length) return bytes.subarray(at, at + TAR_BLOCK_BYTES);
    // Small files are close together, so several headers are likely to be nearby.
    const window = Buffer.allocUnsafe(READ_BYTES);
    const { bytesRead } = await this.#file.read(window, 0, window.length, this.#position);
    this.#window = { start: this.#position, bytes: window.subarray(0, bytesRead) };
    return this.#window.bytes.subarray(0, TAR_BLOCK_BYTES);
  }
}
