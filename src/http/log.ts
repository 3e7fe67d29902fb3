import { pino } from 'pino';

/** Subset of a logger that this folder uses, with pino's order of arguments. */
export interface Log {
  debug(fields: Readonly<Record<string, unknown>>, message: string): void;
  info(fields: Readonly<Record<string, unknown>>, message: string): void;
  warn(fields: Readonly<Record<string, unknown>>, message: string): void;
  error(fields: Readonly<Record<string, unknown>>, message: string): void;
}

export const SILENT: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

const LEVELS: Readonly<Record<string, string>> = { warning: 'warn', critical: 'fatal' };

/** Keys whose values are never logged, at any depth. */
const SECRETS = ['token', 'password', 'authorization', 'secret', 'credentials', 'env', 'stdin'];

/** Lines kept while they cannot be written, as on a full disk; later ones are dropped. */
const UNWRITTEN_BYTES_MAX = 256 * 1024;

/**
 * Opens a log: JSON lines on a file descriptor, written synchronously so that nothing is lost when the process is
 * killed. A line that cannot be written fails no request: it is written with a later one. `level` is a name from the
 * settings.
 */
export function openLog(level: string, descriptor: 1 | 2): Log {
  const destination = pino.destination({ dest: descriptor, sync: true, maxLength: UNWRITTEN_BYTES_MAX });
  destination.on('error', () => {});
  const paths = SECRETS.flatMap((key) => [key, `*.${key}`, `*.*.${key}`]);
  return pino(
    {
      level: LEVELS[level] ?? level,
      base: { pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      redact: { paths, censor: '[redacted]' },
    },
    destination,
  );
}
