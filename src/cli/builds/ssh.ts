import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { BuildRequest } from '../../contract/build.ts';
import { fault } from '../../contract/errors.ts';
import type { Cli } from '../cli.ts';
import { absolutePath } from '../transfer/local-transfers.ts';

/** Shell line that an agent of ours runs and ends with: it names the agent, and waits until our end of its input is gone. */
const ATTENDANT = 'echo "$SSH_AGENT_PID"; exec cat';

/** SSH agents for a build, with those that were started for it. */
export interface LentAgents extends AsyncDisposable {
  readonly ssh: BuildRequest['ssh'];
}

/**
 * Returns the agents that `--ssh` names, in BuildKit's form: `ID` for the agent of `SSH_AUTH_SOCK`, `ID=SOCKET`, or
 * `ID=KEY[,KEY]` for an agent of our own that has these keys until it is disposed. Faults: ARGUMENT_INVALID.
 */
export async function lendAgents(cli: Cli, given: readonly string[]): Promise<LentAgents> {
  await using owned = new AsyncDisposableStack();
  const ssh: { id: string; socket: string }[] = [];
  for (const text of given) {
    const equals = text.indexOf('=');
    const id = equals < 0 ? text : text.slice(0, equals);
    if (id === '') throw invalid('it needs default or ID, ID=SOCKET or ID=KEY');
    if (ssh.some((agent) => agent.id === id)) throw invalid(`${id} is given twice`);
    const paths = equals < 0 ? [] : text.slice(equals + 1).split(',');
    ssh.push({
      id,
      socket: await socketOf(
        cli,
        paths.filter((path) => path !== ''),
        owned,
      ),
    });
  }
  const kept = owned.move();
  return { ssh, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

/** Returns the socket of the agent at some paths: the user's own where there are none, or a new one with the keys there. */
async function socketOf(cli: Cli, paths: readonly string[], owned: AsyncDisposableStack): Promise<string> {
  const own = cli.host.env['SSH_AUTH_SOCK'] ?? '';
  const [first = own, ...more] = paths;
  if (first === '')
    throw invalid('SSH_AUTH_SOCK is not set; start an agent with "ssh-agent", and add keys with "ssh-add"');
  const kinds = await Promise.all([first, ...more].map(kindOf));
  if (kinds.every((kind) => kind === 'key')) return await startAgent(cli, [first, ...more], owned);
  if (kinds[0] === 'socket' && more.length === 0) return absolutePath(first);
  const missing = [first, ...more].find((_, index) => kinds[index] === undefined);
  throw invalid(missing === undefined ? 'an agent is one socket, or keys' : `there is no socket or key at ${missing}`);
}

async function kindOf(path: string): Promise<'socket' | 'key' | undefined> {
  const info = await stat(absolutePath(path)).catch(() => undefined);
  if (info?.isSocket() === true) return 'socket';
  return info?.isFile() === true ? 'key' : undefined;
}

/**
 * Starts OpenSSH's agent with keys, in a folder of its own, and returns its socket. `ssh-add` asks for their passphrases at
 * the terminal. The agent ends with its owner, or when we do.
 */
async function startAgent(cli: Cli, keys: readonly string[], owned: AsyncDisposableStack): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'contree-ssh-'));
  owned.defer(async () => rm(folder, { recursive: true, force: true }));
  const socket = join(folder, 'agent');
  const env = { ...cli.host.env, SSH_AUTH_SOCK: socket };
  const agent = spawn('ssh-agent', ['-a', socket, 'sh', '-c', ATTENDANT], { env, stdio: ['pipe', 'pipe', 'ignore'] });
  await once(agent, 'spawn').catch((cause: unknown) => {
    throw invalid('keys need OpenSSH’s ssh-agent; install it, or add them to an agent of yours with "ssh-add"', cause);
  });
  const [pid] = (await Promise.race([once(createInterface(agent.stdout), 'line'), once(agent, 'exit')])) as unknown[];
  owned.defer(() => {
    agent.stdin.end();
    if (typeof pid === 'string' && Number(pid) > 1) process.kill(Number(pid), 'SIGTERM');
  });
  const adding = spawn('ssh-add', ['-q', '--', ...keys.map(absolutePath)], {
    env,
    stdio: ['inherit', 'ignore', 'inherit'],
  });
  const [code] = (await once(adding, 'exit')) as [number | null];
  if (code !== 0) throw invalid(`ssh-add does not take ${keys.join(', ')}`);
  return socket;
}

function invalid(reason: string, cause?: unknown): Error {
  return fault('ARGUMENT_INVALID', { reason: `--ssh: ${reason}` }, { cause });
}
