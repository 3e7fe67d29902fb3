import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { TarMember } from './tar.ts';

const execute = promisify(execFile);

/** OpenSSH's agent with one new key, in a folder of its own. */
export interface TestAgent extends AsyncDisposable {
  readonly folder: string;
  readonly socket: string;
  /** Public key, in the form of a `.pub` file, and its file; the private key is beside it. */
  readonly publicKey: string;
  readonly keyFile: string;
  /** Lists the agent's keys, as `ssh-add -l`. */
  list(): Promise<string>;
}

export async function openTestAgent(): Promise<TestAgent> {
  await using owned = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), 'contree-agent-'));
  owned.defer(async () => rm(folder, { recursive: true, force: true }));
  const [socket, keyFile] = [join(folder, 'agent'), join(folder, 'key')];
  await execute('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'of the test', '-f', keyFile]);
  const agent = spawn('ssh-agent', ['-D', '-a', socket], { stdio: ['ignore', 'pipe', 'ignore'] });
  owned.defer(async () => {
    agent.kill();
    await once(agent, 'exit');
  });
  // It prints the name of its socket once that is there.
  await once(agent.stdout, 'data');
  const env = { ...process.env, SSH_AUTH_SOCK: socket };
  await execute('ssh-add', ['-q', keyFile], { env });
  const { stdout: publicKey } = await execute('ssh-keygen', ['-y', '-f', keyFile]);
  const kept = owned.move();
  return {
    folder,
    socket,
    publicKey,
    keyFile,
    list: async () => (await execute('ssh-add', ['-l'], { env })).stdout,
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

/**
 * Returns members of a tar for a context: `ssh/` with OpenSSH's programs and their libraries, the agent's public key, and a
 * text to sign.
 */
export async function sshMembers(agent: TestAgent): Promise<TarMember[]> {
  const found = await execute('which', ['ssh-add', 'ssh-keygen']);
  const programs = found.stdout.trim().split('\n');
  const linked = await execute('ldd', programs);
  // ldd(1): "NAME => PATH (ADDRESS)", and the loader by its path alone.
  const libraries = [...linked.stdout.matchAll(/(?<path>\/\S+) \(0x/gu)].map((match) => match.groups?.['path'] ?? '');
  const members = [...new Set([...programs, ...libraries])].map(async (path) => ({
    path: `ssh${path}`,
    content: await readFile(path),
    mode: 0o755,
  }));
  return [
    ...(await Promise.all(members)),
    { path: 'ssh/key.pub', content: agent.publicKey, mode: 0o600 },
    { path: 'ssh/text', content: 'signed\n' },
    { path: 'ssh/root', flag: '5', mode: 0o700 },
    // ssh-keygen asks for the name of its user.
    { path: 'ssh/etc/passwd', content: 'root:x:0:0::/root:/bin/sh\n' },
  ];
}

/** Checks a signature of the agent's key over a text, in the namespace `test`. Throws when it is another one. */
export async function verifySignature(agent: TestAgent, text: string, signature: string): Promise<void> {
  const [signers, file] = [join(agent.folder, 'signers'), join(agent.folder, 'signature')];
  await writeFile(signers, `me ${agent.publicKey}`);
  await writeFile(file, signature);
  const checked = execute('ssh-keygen', ['-Y', 'verify', '-f', signers, '-I', 'me', '-n', 'test', '-s', file]);
  checked.child.stdin?.end(text);
  await checked;
}
