import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Writable } from 'node:stream';
import type { CliHost, TerminalInput, TerminalOutput } from '../../src/cli/host.ts';
import { runCli } from '../../src/cli/program.ts';
import { engineFiles } from '../../src/config/index.ts';
import { serveEngine } from '../../src/http/engine-server.ts';
import { SILENT } from '../../src/http/log.ts';
import { ScriptedContree } from './scripted/contree.ts';

export interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  /** Standard output byte by byte. */
  readonly bytes: Buffer;
}

export interface RunOptions {
  readonly input?: string | Uint8Array;
  readonly terminal?: boolean;
  readonly env?: Readonly<Record<string, string>>;
  /** Told what is written to standard error, as it is written. */
  readonly onStderr?: (text: string) => void;
}

/** A scripted engine at the socket of a data directory, with the command line as its client. */
export interface CliBench extends AsyncDisposable {
  readonly contree: ScriptedContree;
  readonly folder: string;
  /** Runs a command line in this process. */
  run(args: readonly string[], options?: RunOptions): Promise<Ran>;
  /** Starts the real command as a separate process. */
  start(args: readonly string[], env?: Readonly<Record<string, string>>): ChildProcessWithoutNullStreams;
  /** Runs the real command to its end. */
  spawn(args: readonly string[], options?: RunOptions): Promise<Ran>;
}

const PROGRAM = new URL('../../bin/contree', import.meta.url).pathname;
/** Newer than any client, so that no client replaces the scripted engine. */
const VERSION = '999.0.0';

export async function openCli(contree = new ScriptedContree()): Promise<CliBench> {
  const folder = await mkdtemp(join(tmpdir(), 'contree-cli-'));
  const stop = new AbortController();
  const { socket, tokens } = engineFiles(folder, {});
  const ready = Promise.withResolvers<unknown>();
  const engine = { contreeFor: () => contree, busy: async () => contree.busy };
  const served = serveEngine(
    { served: engine, version: VERSION, log: SILENT, socket, tokens, idleMs: 0, onReady: ready.resolve },
    stop.signal,
  );
  await Promise.race([ready.promise, served]);
  const start: CliBench['start'] = (args, env = {}) =>
    spawn(process.execPath, [PROGRAM, '--data-dir', folder, ...args], {
      cwd: folder,
      env: { ...process.env, HOME: folder, XDG_CONFIG_HOME: join(folder, 'config'), XDG_CACHE_HOME: '', ...env },
    });
  return {
    contree,
    folder,
    start,
    run: (args, options = {}) => runHere(folder, args, options),
    spawn: async (args, { input = '', env } = {}) => {
      const child = start(args, env);
      child.stdin.on('error', () => undefined).end(input);
      return collectChild(child);
    },
    [Symbol.asyncDispose]: async () => {
      await contree[Symbol.asyncDispose]();
      stop.abort();
      await served;
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Waits for a process to exit and collects its output. */
export async function collectChild(child: ChildProcessWithoutNullStreams): Promise<Ran> {
  const ended = new Promise<number | null>((resolve) => child.once('close', (code) => resolve(code)));
  const [stdout, stderr] = await Promise.all([Array.fromAsync(child.stdout), Array.fromAsync(child.stderr)]);
  const bytes = Buffer.concat(stdout as Buffer[]);
  return { code: await ended, stdout: bytes.toString(), stderr: Buffer.concat(stderr as Buffer[]).toString(), bytes };
}

export async function runHere(folder: string, args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  const [stdout, stderr] = [new Sink(options.terminal), new Sink(options.terminal, options.onStderr)];
  const stdin = new PassThrough() as unknown as TerminalInput;
  (stdin as unknown as PassThrough).end(options.input ?? '');
  const host: CliHost = {
    stdin,
    stdout,
    stderr,
    env: { HOME: folder, XDG_CONFIG_HOME: join(folder, 'config'), ...options.env },
    version: '1.2.3',
    self: [process.execPath, PROGRAM],
    onSignal: () => ({ [Symbol.dispose]: () => undefined }),
    runEngineProcess: async () => undefined,
  };
  const code = await runCli(host, ['--data-dir', folder, ...args]);
  const bytes = Buffer.concat(stdout.chunks);
  return { code, stdout: bytes.toString(), stderr: Buffer.concat(stderr.chunks).toString(), bytes };
}

class Sink extends Writable implements TerminalOutput {
  readonly chunks: Buffer[] = [];
  readonly isTTY: boolean;
  readonly columns = 100;
  readonly rows = 40;

  readonly #look: (text: string) => void;

  constructor(terminal = false, look: (text: string) => void = () => undefined) {
    super();
    this.isTTY = terminal;
    this.#look = look;
  }

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.chunks.push(Buffer.from(chunk));
    this.#look(chunk.toString());
    done();
  }
}
