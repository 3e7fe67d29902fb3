import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Environment } from './read.ts';

/** Longest path of a Unix socket: Linux has 108 bytes, including the terminating NUL. */
const SOCKET_PATH_BYTES_MAX = 107;

/** Files with which processes find and lock the engine of a data directory. */
export interface EngineFiles {
  readonly dataDir: string;
  /** The engine's socket, 0600 in a 0700 directory. */
  readonly socket: string;
  /** Log of the engine: its standard output and error. */
  readonly log: string;
  /** Lock held while an engine is being started, so that ten processes start only one. */
  readonly startLock: string;
  /** Hashes of the tokens that TCP clients may use. */
  readonly tokens: string;
  /** The token that `contree-mcp --mode http` asks for when it was given none. */
  readonly httpToken: string;
}

/**
 * Returns the files of a data directory. The socket is in it; if that path is too long for a socket, it gets a short
 * path under `$XDG_RUNTIME_DIR` or the temporary directory, the same for every process that uses this data directory.
 */
export function engineFiles(dataDir: string, env: Environment): EngineFiles {
  const direct = join(dataDir, 'engine.sock');
  const short = Buffer.byteLength(direct) <= SOCKET_PATH_BYTES_MAX;
  return {
    dataDir,
    socket: short ? direct : join(socketFolder(dataDir, env), 'engine.sock'),
    log: join(dataDir, 'engine.log'),
    startLock: join(dataDir, 'start.lock'),
    tokens: join(dataDir, 'tokens.json'),
    httpToken: join(dataDir, 'http-token'),
  };
}

function socketFolder(dataDir: string, env: Environment): string {
  // Loaded here because few data directories have so long a path.
  const { createHash } = process.getBuiltinModule('node:crypto');
  const hash = createHash('sha256').update(dataDir).digest('hex').slice(0, 16);
  const runtime = env['XDG_RUNTIME_DIR'];
  if (runtime) return join(runtime, `contree-${hash}`);
  return join(tmpdir(), `contree-${process.getuid?.() ?? 'user'}-${hash}`);
}
