import { spawn, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { open, type FileHandle } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { assert } from '../../../std/assert.ts';
import { fault } from '../../../contract/errors.ts';
import { runTool } from '../host/tool.ts';

const PAGE_BYTES = 4_096;
const CHUNK_BYTES = 4 * 1024 ** 2;
const ZERO_PAGE = Buffer.alloc(PAGE_BYTES);

/** A guest's memory without the pages that are zero: what the packed file holds, one run after the other. */
export interface PackedRam {
  /** Of the packed file. */
  readonly sha256: string;
  /** Of the guest's memory. */
  readonly bytes: number;
  /** First page and number of pages of each run, flat. */
  readonly runs: readonly number[];
}

/** Copies the memory in the file at `path` to `packed`, which must be empty. */
export async function packRam(path: string, packed: FileHandle, perl: string, signal: AbortSignal): Promise<PackedRam> {
  await using ram = await open(path, 'r');
  const { size } = await ram.stat();
  assert(size % PAGE_BYTES === 0, 'memory is whole pages');
  const chunk = Buffer.alloc(CHUNK_BYTES);
  const hash = createHash('sha256');
  const runs: number[] = [];
  for (const [from, to] of await dataOf(path, perl, signal)) {
    for (let offset = from; offset < to; offset += CHUNK_BYTES) {
      const { bytesRead } = await ram.read(chunk, 0, Math.min(CHUNK_BYTES, to - offset), offset);
      const data = usedPages(chunk.subarray(0, bytesRead), offset / PAGE_BYTES, runs);
      hash.update(data);
      await packed.write(data);
    }
  }
  return { sha256: hash.digest('hex'), bytes: size, runs };
}

/** The pages that are not zero, moved together at the start of `data`; adds their numbers to `runs`. */
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

/** Start and end of each stretch of a sparse file that is no hole; whole pages. Most of a guest's memory was never touched. */
async function dataOf(path: string, perl: string, signal: AbortSignal): Promise<(readonly [number, number])[]> {
  const text = await runTool(perl, ['-e', DATA_FINDER, path], signal);
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [from = 0, to = 0] = line.split(' ').map(Number);
      return [Math.floor(from / PAGE_BYTES) * PAGE_BYTES, Math.ceil(to / PAGE_BYTES) * PAGE_BYTES] as const;
    });
}

/** Node cannot seek: SEEK_DATA and SEEK_HOLE of lseek(2). */
const DATA_FINDER = `
open(my $file, "<:raw", $ARGV[0]) or die "open: $!";
my $at = 0;
while (defined(my $from = sysseek($file, $at, 3))) {
  $at = sysseek($file, $from, 4);
  printf "%d %d\\n", $from, $at;
}
`;

function addPage(runs: number[], page: number): void {
  const [first = 0, count = 0] = runs.slice(-2);
  if (count > 0 && first + count === page) runs[runs.length - 1] = count + 1;
  else runs.push(page, 1);
}

/**
 * Loads the memory into a file that nobody can ever write again: a memfd sealed with F_SEAL_WRITE. QEMU opens its RAM for
 * writing and maps it privately; the seal lets it, yet refuses every write to the file itself. So all
 * runs share one copy and none can poison it (docs/decisions/0010-microvm-start.md).
 *
 * Rejects with STORE_CORRUPT when the packed file is not what it was.
 */
export async function loadRam(
  packed: FileHandle,
  ram: PackedRam,
  perl: string,
  signal: AbortSignal,
): Promise<FileHandle> {
  // Node has no memfd_create: a child makes it, we take it over through /proc, and the child may go.
  const child = spawn(perl, ['-e', SEALER, String(ram.bytes)], { stdio: ['pipe', 'pipe', 'ignore'], env: {}, signal });
  const exited = exitOf(child);
  exited.catch(() => {});
  try {
    const descriptor = await Promise.race([firstLine(child.stdout), exited]);
    const path = `/proc/${child.pid}/fd/${descriptor}`;
    await using stack = new AsyncDisposableStack();
    const sealed = stack.use(await open(path, 'r'));
    {
      await using writable = await open(path, 'r+');
      await unpack(packed, writable, ram);
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
  if (code !== 0)
    throw fault('DRIVER_UNAVAILABLE', { reason: `the memory of the template cannot be sealed (${code})` });
  return '';
}

async function firstLine(stream: Readable): Promise<string> {
  const [line] = (await once(stream.setEncoding('latin1'), 'data')) as [string];
  return line.trim();
}

/** Makes a memfd of the given size, tells its number, and seals it when told: against writing, growing, shrinking, unsealing. */
const SEALER = `
use Fcntl;
my $name = "contree-ram";
my $number = syscall(${process.arch === 'arm64' ? 279 : 319}, $name, 2);
die "memfd_create: $!" if $number < 0;
open(my $file, "+<&=", $number) or die "open: $!";
truncate($file, $ARGV[0]) or die "truncate: $!";
$| = 1;
print "$number\\n";
exit 1 unless defined(<STDIN>);
fcntl($file, 1033, 15) or die "seal: $!";
`;

async function unpack(packed: FileHandle, into: FileHandle, { runs, sha256 }: PackedRam): Promise<void> {
  const hash = createHash('sha256');
  const chunk = Buffer.alloc(CHUNK_BYTES);
  let from = 0;
  for (let index = 0; index + 1 < runs.length; index += 2) {
    const [first = 0, count = 0] = [runs[index], runs[index + 1]];
    const end = (first + count) * PAGE_BYTES;
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

/** Trust nothing that a wall stands on: a memfd that can be written is not used. */
async function checkSealed(file: FileHandle): Promise<void> {
  await using writable = await open(`/proc/self/fd/${file.fd}`, 'r+');
  const written = await writable.write(Buffer.of(0), 0, 1, 0).then(
    () => true,
    () => false,
  );
  if (written) throw fault('DRIVER_UNAVAILABLE', { reason: 'the memory of the template cannot be sealed' });
}

function damaged(reason: string): Error {
  return fault('STORE_CORRUPT', { what: 'the memory of a microVM template', reason });
}
