import { execFile } from 'node:child_process';
import { fault } from '../../contract/errors.ts';

const OUTPUT_BYTES_MAX = 1024 * 1024;
const TOOL_MS_MAX = 30_000;

/**
 * Runs a small program to its end and returns what it printed. Its environment is a search path. Rejects with
 * DRIVER_UNAVAILABLE when it fails or takes longer than `msMax`.
 */
export async function runTool(
  program: string,
  args: readonly string[],
  signal: AbortSignal,
  msMax = TOOL_MS_MAX,
): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const options = {
    encoding: 'utf8',
    cwd: '/',
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' },
    maxBuffer: OUTPUT_BYTES_MAX,
    timeout: msMax,
    killSignal: 'SIGKILL',
    signal,
  } as const;
  execFile(program, args, options, (error, stdout, stderr) => {
    if (error === null) resolve(stdout);
    else if (signal.aborted) reject(signal.reason as Error);
    else if (error.killed === true) reject(toolFault(program, `no answer within ${msMax / 1_000} s`, error));
    else reject(toolFault(program, stderr, error));
  });
  return promise;
}

function toolFault(program: string, stderr: string, cause: Error): Error {
  const said = stderr.trim().split('\n').slice(-3).join('; ');
  return fault('DRIVER_UNAVAILABLE', { reason: `${program} failed: ${said || cause.message}` }, { cause });
}
