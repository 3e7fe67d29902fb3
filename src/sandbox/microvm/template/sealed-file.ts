import { spawn, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { open, type FileHandle } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { fault } from '../../../contract/errors.ts';
import { runTool } from '../../host/tool.ts';

const PAGE_BYTES = 4_096;
const CHUNK_BYTES = 4 * 1024 ** 2;
const ZERO_PAGE = Buffer.alloc(PAGE_BYTES);

/** A sparse file without its zero pages: the packed file holds the runs of other pages one after the other. */
export interface PackedFile {
  /** Digest of the packed file. */
  readonly sha256: string;
  /** Size of the file that was packed. */
  readonly bytes: number;
  /** First page and number of pages of each run, flat. */
  readonly runs: readonly number[];
}

/** Copies the file at `path` to `packed`, which must be empty. */
export async function packFile(
  path: string,
  packed: FileHandle,
  helper: string,
  signal: AbortSignal,
): Promise<PackedFile> {
  await using file = await open(path, 'r');
  const { size } = await file.stat();
  const chunk = Buffer.alloc(CHUNK_BYTES);
  const hash = createHash('sha256');
  const runs: number[] = [];
  for (const [from, to] of await dataOf(path, helper, signal)) {
    for (let offset = from; offset < to; offset += CHUNK_BYTES) {
      const { bytesRead } = await file.read(chunk, 0, Math.min(CHUNK_BYTES, to - offset), offset);
      const data = usedPages(chunk.subarray(0, bytesRead), offset / PAGE_BYTES, runs);
      hash.update(data);
      await packed.write(data);
    }
  }
  return { sha256: hash.digest('hex'), bytes: size, runs };
}

/** Moves the pages that are not zero to the start of `data` and returns them; adds their numbers to `runs`. */
function usedPages(data: Buffer, firstPage: number, runs: number[]): Buffer {
  let used = 0;
  for (let at = 0; at < data.length; at += PAGE_BYTES) {
    const page = data.subarray(at, at + PAGE_BYTES);
    if (page.equals(ZERO_PAGE)) continue;
    addPage(runs, firstPage + at / PAGE_BYTES);
    page.copy(data, used);
    used += page.length;
  }
  return data.subarray(0, used);
}

/** Returns start and end of each stretch of data in a sparse file, in whole pages. Only the helper can find them. */
async function dataOf(path: string, helper: string, signal: AbortSignal): Promise<(readonly [number, number])[]> {
  const text = await runTool(helper, ['data', path], signal);
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [from = 0, to = 0] = line.split(' ').map(Number);
      return [Math.floor(from / PAGE_BYTES) * PAGE_BYTES, Math.ceil(to / PAGE_BYTES) * PAGE_BYTES] as const;
    });
}

function addPage(runs: number[], page: number): void {
  const [first = 0, count = 0] = runs.slice(-2);
  if (count > 0 && first + count === page) runs[runs.length - 1] = count + 1;
  else runs.push(page, 1);
}

/**
 * Loads a packed file into a memfd sealed with F_SEAL_WRITE, which can never be written again. Anyone whom a file's mode
 * permits can reopen a descriptor of it for writing through /proc, but the seal refuses the write itself. QEMU opens its RAM
 * that way and maps it privately, which the seal allows. So all runs share one copy, and none can change it
 * (docs/decisions/0010-microvm-start.md).
 *
 * Rejects with STORE_CORRUPT when the packed file has changed.
 */
export async function loadSealed(
  packed: FileHandle,
  record: PackedFile,
  helper: string,
  signal: AbortSignal,
): Promise<FileHandle> {
  // Node has no memfd_create: the helper makes the file, this process takes it over through /proc, and the helper ends.
  const child = spawn(helper, ['memory', String(record.bytes)], { stdio: ['pipe', 'pipe', 'ignore'], env: {}, signal });
  const exited = exitOf(child);
  exited.catch(() => {});
  try {
    const descriptor = await Promise.race([firstLine(child.stdout), exited]);
    const path = `/proc/${child.pid}/fd/${descriptor}`;
    await using stack = new AsyncDisposableStack();
    const sealed = stack.use(await open(path, 'r'));
    {
      await using writable = await open(path, 'r+');
      await unpack(packed, writable, record);
    }
    child.stdin.end('seal\n');
    await exited;
    await checkSealed(sealed);
    stack.move();
    return sealed;
  } finally {
    child.kill('SIGKILL');
  }
}

/** Resolves when the child has done its work; rejects when it could not. */
async function exitOf(child: ChildProcess): Promise<''> {
  const [code] = (await once(child, 'exit')) as [number | null];
  if (code !== 0) throw fault('DRIVER_UNAVAILABLE', { reason: `a file of the template cannot be sealed (${code})` });
  return '';
}

async function firstLine(stream: Readable): Promise<string> {
  const [line] = (await once(stream.setEncoding('latin1'), 'data')) as [string];
  return line.trim();
}

async function unpack(packed: FileHandle, into: FileHandle, { runs, sha256, bytes }: PackedFile): Promise<void> {
  const hash = createHash('sha256');
  const chunk = Buffer.alloc(CHUNK_BYTES);
  let from = 0;
  for (let index = 0; index + 1 < runs.length; index += 2) {
    const [first = 0, count = 0] = [runs[index], runs[index + 1]];
    const end = Math.min((first + count) * PAGE_BYTES, bytes);
    for (let to = first * PAGE_BYTES; to < end;) {
      const { bytesRead } = await packed.read(chunk, 0, Math.min(CHUNK_BYTES, end - to), from);
      if (bytesRead === 0) throw damaged('it is too short');
      const data = chunk.subarray(0, bytesRead);
      hash.update(data);
      await into.write(data, 0, data.length, to);
      from += bytesRead;
      to += bytesRead;
    }
  }
  if (hash.digest('hex') !== sha256) throw damaged('its digest differs');
}

/** Verifies the seal, because isolation depends on it: a memfd that can be written is not used. */
async function checkSealed(file: FileHandle): Promise<void> {
  await using writable = await open(`/proc/self/fd/${file.fd}`, 'r+');
  const written = await writable.write(Buffer.of(0), 0, 1, 0).then(
    () => true,
    () => false,
  );
  if (written) throw fault('DRIVER_UNAVAILABLE', { reason: 'a file of the template cannot be sealed' });
}

function damaged(reason: string): Error {
  return fault('STORE_CORRUPT', { what: 'a file of a microVM template', reason });
}
