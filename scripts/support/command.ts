import { spawn } from 'node:child_process';

/** Runs a program with a time limit and returns its standard output; rejects with all of its output when it fails. */
export function command(
  program: string,
  args: readonly string[],
  { timeout, ...options }: { readonly cwd?: string; readonly timeout?: number; readonly env?: NodeJS.ProcessEnv } = {},
): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    // Not the timeout of spawn, whose timer goes on when the program could not be started.
    const timer = timeout === undefined ? undefined : setTimeout(() => child.kill(), timeout);
    child.on('error', (error) => {
      clearTimeout(timer);
      reject(error);
    });
    child.on('close', (code) => {
      clearTimeout(timer);
      if (code === 0) resolve(stdout);
      else reject(new Error(`${program} ${args.join(' ')} failed (${code}): ${stderr.slice(-2_000)}`));
    });
  });
}
