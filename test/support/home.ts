import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { connect, type HttpContree } from '../../src/client/index.ts';
import { engineFiles } from '../../src/config/index.ts';

export const ROOT = resolve(import.meta.dirname, '../..');

/** Exit status and output of a command. */
export interface CliResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CliOptions {
  readonly input?: string | Buffer;
  /** Added to the test's environment; undefined removes a variable. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly timeoutMs?: number;
  readonly cwd?: string;
}

/** Runs a program to its end with its output collected. */
export function execute(program: string, args: readonly string[], options: CliOptions = {}): Promise<CliResult> {
  return new Promise((settle, reject) => {
    const env = { ...process.env, ...options.env };
    const { cwd } = options;
    const child = spawn(program, args, { env, stdio: ['pipe', 'pipe', 'pipe'], ...(cwd !== undefined && { cwd }) });
    // A time limit, not a wait.
    const timer = setTimeout(() => child.kill('SIGKILL'), options.timeoutMs ?? 300_000);
    const stdout: Buffer[] = [];
    const stderr: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk));
    child.stdin.on('error', () => undefined);
    child.stdin.end(options.input ?? '');
    child.on('error', reject);
    child.on('close', (code) => {
      clearTimeout(timer);
      settle({ code, stdout: Buffer.concat(stdout).toString(), stderr: Buffer.concat(stderr).toString() });
    });
  });
}

/** A new data directory, used through the real command line; disposing stops its engine and removes it. */
export interface CliHome extends AsyncDisposable {
  readonly dataDir: string;
  run(args: readonly string[], options?: CliOptions): Promise<CliResult>;
  /** A client of the engine that a command has started. */
  connect(): Promise<HttpContree>;
  /** The parsed `--json` answer; rejects when the command fails. */
  json<Value>(args: readonly string[], options?: CliOptions): Promise<Value>;
}

/** Environment of an engine whose runs get microVMs. By default they get the best sandbox of the machine. */
export const MICROVMS = { CONTREE_DEFAULT_SANDBOX: 'microvm' } as const;
const selected = process.env['CONTREE_DEFAULT_SANDBOX'];
const SELECTED = selected === undefined ? {} : { CONTREE_DEFAULT_SANDBOX: selected };

/**
 * Creates a data directory, or uses the given one, which is then not removed. Its runs get microVMs, or the sandbox that
 * `npm run test:attacks` selects.
 */
export async function cliHome(folder?: string): Promise<CliHome> {
  const dataDir = folder ?? (await mkdtemp(join(tmpdir(), 'contree-e2e-')));
  const run: CliHome['run'] = (args, options = {}) =>
    execute(process.execPath, [join(ROOT, 'bin/contree'), ...args], {
      ...options,
      env: { CONTREE_DATA_DIR: dataDir, CONTREE_CONFIG: '/dev/null', ...MICROVMS, ...SELECTED, ...options.env },
    });
  return {
    dataDir,
    run,
    connect: async () => {
      const { socket, startLock, log } = engineFiles(dataDir, process.env);
      const local = { socket, startLock, command: { argv: ['false'] as const, env: {}, log } };
      return connect({ version: '0.0.0', program: 'test', server: { local } });
    },
    json: async <Value>(args: readonly string[], options: CliOptions = {}) => {
      const { code, stdout, stderr } = await run(['--json', ...args], options);
      if (code !== 0) throw new Error(`contree ${args.join(' ')} failed (${code}): ${stderr}${stdout}`);
      return JSON.parse(stdout) as Value;
    },
    [Symbol.asyncDispose]: async () => {
      await run(['engine', 'stop']);
      if (folder === undefined) await rm(dataDir, { recursive: true, force: true });
    },
  };
}
