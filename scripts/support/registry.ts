import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { command } from './command.ts';

/** A real registry server (`docker-registry`) on a free port of 127.0.0.1; disposing ends it and drops its data. */
export interface LoopbackRegistry extends AsyncDisposable {
  /** Address, for example `127.0.0.1:41234`. */
  readonly host: string;
  /** Copies an image of an OCI layout into the registry and returns its reference there. */
  push(layout: string, reference: string, repository: string): Promise<string>;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** The one account of a registry that asks for it. The hash is the password's, by bcrypt. */
export const REGISTRY_ACCOUNT = {
  username: 'tester',
  password: 'secret-of-the-test',
  hash: '$2b$04$1LCQjjm4fvTWDGPpYNOaZeNnX6NZlXQ02wlVxmqLllvUgfSljLGZK',
} as const;

/** Starts the server and waits until it answers. With `closed` it lets in only who has `REGISTRY_ACCOUNT`. */
export async function startRegistry({ closed = false } = {}): Promise<LoopbackRegistry> {
  const data = await mkdtemp(join(tmpdir(), 'contree-registry-'));
  const host = `127.0.0.1:${await freePort()}`;
  const config = join(data, 'config.yml');
  const accounts = join(data, 'accounts');
  await writeFile(accounts, `${REGISTRY_ACCOUNT.username}:${REGISTRY_ACCOUNT.hash}\n`);
  // JSON is YAML. Everything is said here: the package's own configuration asks for a password file.
  await writeFile(
    config,
    JSON.stringify({
      version: 0.1,
      log: { level: 'error' },
      storage: { filesystem: { rootdirectory: join(data, 'blobs') }, delete: { enabled: true } },
      http: { addr: host },
      ...(closed && { auth: { htpasswd: { realm: 'test', path: accounts } } }),
    }),
  );
  const server = spawn('docker-registry', ['serve', config], { stdio: 'ignore' });
  const gone = once(server, 'exit');
  const close = async (): Promise<void> => {
    server.kill('SIGKILL');
    await gone;
    await rm(data, { recursive: true, force: true });
  };
  for (let attempt = 0; attempt < 100; attempt += 1) {
    const answers = await fetch(`http://${host}/v2/`).then(
      (response) => response.ok || response.status === 401,
      () => false,
    );
    if (answers) return { host, push: push.bind(undefined, host), [Symbol.asyncDispose]: close };
    if (server.exitCode !== null) break;
    await delay(50);
  }
  await close();
  throw new Error('docker-registry did not start');
}

async function push(host: string, layout: string, reference: string, repository: string): Promise<string> {
  const target = `docker://${host}/${repository}`;
  await command('skopeo', [
    'copy',
    '--quiet',
    '--dest-tls-verify=false',
    '--insecure-policy',
    `oci:${layout}:${reference}`,
    target,
  ]);
  return target;
}
