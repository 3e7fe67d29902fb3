import { posix } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { FileError, type FakeFiles } from './files.ts';
import type { FakePorts } from './ports.ts';

/** Environment of a program of the fake guest. */
export interface ProgramContext {
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  readonly uid: number;
  readonly gid: number;
  readonly hostname: string;
  readonly bootId: string;
  readonly files: FakeFiles;
  readonly ports: FakePorts;
  /** Waits while the reader is behind. */
  readonly out: (text: string | Uint8Array) => Promise<void>;
  readonly err: (text: string | Uint8Array) => Promise<void>;
  /** Bytes written to standard input, until it is closed. */
  readonly stdin: AsyncIterable<Uint8Array>;
  /** Aborts when the process group is killed. */
  readonly signal: AbortSignal;
  /** Crashes the guest. */
  readonly crash: (reason: string) => void;
}

/** Returns the exit code. */
export type Program = (context: ProgramContext) => Promise<number>;

const CHUNK = Buffer.alloc(16_384, 'x');

/** Programs of the fake guest by name: small versions of their namesakes; `flood`, `awaits` and `crash` are our own. */
export const PROGRAMS: Readonly<Record<string, Program>> = {
  true: async () => 0,
  ':': async () => 0,
  false: async () => 1,
  echo: async ({ args, out }) => {
    const bare = args[0] === '-n';
    await out(`${(bare ? args.slice(1) : args).join(' ')}${bare ? '' : '\n'}`);
    return 0;
  },
  printf: async ({ args, out }) => {
    const [format = '', ...values] = args;
    const text = format.replaceAll(/%s/gu, () => values.shift() ?? '');
    await out(unescape(text));
    return 0;
  },
  cat,
  pwd: async ({ cwd, out }) => print(out, cwd),
  hostname: async ({ hostname, out }) => print(out, hostname),
  id: async ({ args, uid, gid, out }) => print(out, String(args[0] === '-g' ? gid : uid)),
  env: async ({ env, out }) => {
    for (const [name, value] of Object.entries(env)) await print(out, `${name}=${value}`);
    return 0;
  },
  printenv: async ({ args, env, out }) => {
    const value = env[args[0] ?? ''];
    return value === undefined ? 1 : print(out, value);
  },
  sleep: async ({ args, signal }) => {
    await delay(Number(args[0] ?? 0) * 1_000, undefined, { signal });
    return 0;
  },
  mkdir: onFiles((files, path) => files.makeDirectory(path)),
  touch: onFiles((files, path) => files.write(path, Buffer.alloc(0), true)),
  rm: onFiles((files, path) => files.remove(path)),
  ln: async ({ args, cwd, files }) => {
    const [target = '', path = ''] = args.filter((arg) => !arg.startsWith('-'));
    files.link(target, posix.resolve(cwd, path));
    return 0;
  },
  /** Writes the given number of bytes. */
  flood: async ({ args, out, signal }) => {
    for (let left = Number(args[0] ?? 0); left > 0; left -= CHUNK.byteLength) {
      signal.throwIfAborted();
      await out(CHUNK.subarray(0, Math.min(left, CHUNK.byteLength)));
    }
    return 0;
  },
  /** Sends back what arrives at a port: `nc -ll -p PORT -e cat`. */
  nc: async ({ args, ports, signal }) => {
    ports.listen(Number(args[args.indexOf('-p') + 1]), (stream) => stream.pipe(stream), signal);
    await delay(86_400_000, undefined, { signal });
    return 0;
  },
  /** Waits until another process has made the file. */
  awaits: async ({ args, cwd, files, signal }) => {
    const path = posix.resolve(cwd, args[0] ?? '');
    for (;;) {
      try {
        files.read(path);
        return 0;
      } catch (error) {
        if (!(error instanceof FileError)) throw error;
        await delay(2, undefined, { signal });
      }
    }
  },
  /** Panics the guest's kernel. */
  crash: async ({ crash, signal }) => {
    crash('the guest crashed');
    await delay(60_000, undefined, { signal });
    return 0;
  },
};

async function print(out: ProgramContext['out'], line: string): Promise<number> {
  await out(`${line}\n`);
  return 0;
}

async function cat({ args, cwd, files, stdin, out, bootId }: ProgramContext): Promise<number> {
  if (args.length === 0 || args[0] === '-') {
    for await (const chunk of stdin) await out(chunk);
    return 0;
  }
  for (const arg of args) {
    const path = posix.resolve(cwd, arg);
    await out(path === '/proc/sys/kernel/random/boot_id' ? `${bootId}\n` : files.read(path));
  }
  return 0;
}

function onFiles(change: (files: FakeFiles, path: string) => void): Program {
  return async ({ args, cwd, files }) => {
    for (const arg of args) if (!arg.startsWith('-')) change(files, posix.resolve(cwd, arg));
    return 0;
  };
}

/** Expands printf's backslash escapes. */
function unescape(text: string): Buffer {
  const named: Readonly<Record<string, string>> = { n: '\n', t: '\t', r: '\r', '\\': '\\' };
  const bytes = Buffer.from(text, 'utf8').toString('latin1');
  const plain = bytes.replaceAll(
    /\\(?:x([0-9a-fA-F]{2})|([0-7]{1,3})|([ntr\\]))/gu,
    (_, hex?: string, octal?: string, name?: string) => {
      if (hex !== undefined) return String.fromCharCode(Number.parseInt(hex, 16));
      return octal === undefined ? (named[name ?? ''] ?? '') : String.fromCharCode(Number.parseInt(octal, 8) & 0xff);
    },
  );
  return Buffer.from(plain, 'latin1');
}

/** Returns the message of a failed program; undefined for errors that programs do not report. */
export function complaint(program: string, error: unknown): string | undefined {
  return error instanceof FileError ? `${program}: ${error.message}\n` : undefined;
}
