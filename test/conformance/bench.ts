import { Readable } from 'node:stream';
import { TarReader } from '../../src/tar/reader.ts';
import type { LayerFile } from '../../src/erofs/layer-file.ts';
import type { BootSpec, Command, Instance, Outcome, Process, SandboxDriver } from '../../src/sandbox/driver.ts';
import { collect } from '../../src/std/bytes.ts';

/** An opened driver and what tests need to know about it. */
export interface Bench extends AsyncDisposable {
  readonly driver: SandboxDriver;
  /** An image with a shell and the usual small programs. */
  readonly layers: readonly LayerFile[];
  /** A regular file of that image. */
  readonly imageFile: string;
  /** A program that writes the given number of bytes. */
  flood(bytes: number): readonly string[];
  /** A program that crashes the guest. */
  readonly crash: readonly string[];
  /** Returns how many instances, processes and files the driver holds on the host. */
  live(): Promise<number>;
}

export const SIGTERM = 15;
export const SIGKILL = 9;
export const MIB = 1024 ** 2;
export const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

export const soon = (): AbortSignal => AbortSignal.timeout(60_000);

export function bootSpec(bench: Bench, changes: Partial<BootSpec> = {}): BootSpec {
  return {
    layers: bench.layers,
    cpus: 1,
    memoryMib: 1_024,
    diskBytes: 256 * MIB,
    hostname: 'box',
    network: { mode: 'none' },
    ...changes,
  };
}

export function command(argv: readonly string[], changes: Partial<Command> = {}): Command {
  return { argv, env: { PATH }, cwd: '/', uid: 0, gid: 0, stdin: false, ...changes };
}

export function shell(script: string, changes: Partial<Command> = {}): Command {
  return command(['sh', '-c', script], changes);
}

export interface Finished {
  readonly outcome: Outcome;
  readonly stdout: string;
  readonly stderr: string;
}

export async function finish(process: Process): Promise<Finished> {
  const chunks: Record<'stdout' | 'stderr', Buffer[]> = { stdout: [], stderr: [] };
  for await (const { stream, bytes } of process.output) chunks[stream].push(Buffer.from(bytes));
  const [stdout, stderr] = [chunks.stdout, chunks.stderr].map((parts) => Buffer.concat(parts).toString('latin1'));
  return { outcome: await process.outcome, stdout: stdout ?? '', stderr: stderr ?? '' };
}

export async function run(instance: Instance, what: Command): Promise<Finished> {
  return finish(await instance.start(what, soon()));
}

export interface Change {
  readonly type: string;
  readonly content: string;
}

/**
 * Returns the members of the tar that `changes` yields, directories without the final slash; none when it yields
 * nothing.
 */
export async function changesOf(instance: Instance): Promise<Map<string, Change>> {
  return membersOf(instance.changes(soon()));
}

export async function membersOf(changes: AsyncIterable<Uint8Array>): Promise<Map<string, Change>> {
  const tar = await collect(changes, 16 * MIB);
  const found = new Map<string, Change>();
  if (tar.byteLength === 0) return found;
  const reader = new TarReader(Readable.from([tar]));
  for (let entry = await reader.next(); entry !== undefined; entry = await reader.next()) {
    const content = entry.type === 'file' ? await collect(reader.content(), 4 * MIB) : Buffer.alloc(0);
    const path = entry.path.replace(/^\.?\//u, '').replace(/\/$/u, '');
    found.set(path, { type: entry.type, content: content.toString('latin1') });
  }
  return found;
}

/** A bench with one usual instance, both ended with the test. */
export async function booted(open: () => Promise<Bench>): Promise<{
  readonly bench: Bench;
  readonly instance: Instance;
  [Symbol.asyncDispose](): Promise<void>;
}> {
  await using stack = new AsyncDisposableStack();
  const bench = stack.use(await open());
  const instance = stack.use(await bench.driver.start(bootSpec(bench), soon()));
  const resources = stack.move();
  return { bench, instance, [Symbol.asyncDispose]: () => resources.disposeAsync() };
}
