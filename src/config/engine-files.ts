import { createHash } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Environment } from './read.ts';

/** Linux keeps 108 bytes for a socket's path, one of them for the end mark. */
const SOCKET_PATH_BYTES_MAX = 107;

/** Files by which processes find and guard the engine of a data directory. */
export interface EngineFiles {
  readonly dataDir: string;
  /** The engine's socket, 0600 in a 0700 directory. */
  readonly socket: string;
  /** What the engine writes to its standard output and error. */
  readonly log: string;
  /** Held while an engine is being started, so that ten starters start one. */
  readonly startLock: string;
  /** Hashes of the tokens that TCP clients may use. */
  readonly tokens: string;
}

/**
 * The socket is in the data directory; when that path is too long for a socket it gets a short one of its own under
 * `$XDG_RUNTIME_DIR` or the temporary directory, the same for everyone who names this data directory.
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
  };
}

function socketFolder(dataDir: string, env: Environment): string {
  const hash = createHash('sha256').update(dataDir).digest('hex').slice(0, 16);
  const runtime = env['XDG_RUNTIME_DIR'];
  if (runtime) return join(runtime, `contree-${hash}`);
  return join(tmpdir(), `contree-${process.getuid?.() ?? 'user'}-${hash}`);
}
