import { execFile, execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, chown, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Client } from 'pg';

const run = promisify(execFile);

/** Programs of Debian's package postgresql-15. */
const BIN = '/usr/lib/postgresql/15/bin';
/** Debian's user of PostgreSQL, which refuses to run as root. */
const USER = 'postgres';

export interface PostgresOptions {
  /** True where the server is killed: what it committed must be on the disk. */
  readonly durable?: boolean;
}

/** A PostgreSQL server of a test, in a folder of its own, on loopback. */
export class Postgres implements AsyncDisposable {
  readonly #folder: string;
  readonly #port: number;
  readonly #options: PostgresOptions;
  #process: ChildProcess | undefined;
  #databases = 0;

  private constructor(folder: string, port: number, options: PostgresOptions) {
    this.#folder = folder;
    this.#port = port;
    this.#options = options;
  }

  static async open(options: PostgresOptions = {}): Promise<Postgres> {
    if (!existsSync(join(BIN, 'initdb')))
      throw new Error('PostgreSQL 15 is missing: scripts/setup --cluster installs it');
    const folder = await mkdtemp(join(tmpdir(), 'contree-postgres-'));
    await chmod(folder, 0o755);
    const data = join(folder, 'data');
    await mkdir(data, { mode: 0o700 });
    if (process.getuid?.() === 0) await chown(data, idOf('-u'), idOf('-g'));
    await run(...asUser(join(BIN, 'initdb'), ['-D', data, '-U', 'contree', '-A', 'trust', '-N', '--locale=C']));
    const server = new Postgres(folder, await freePort(), options);
    await server.start();
    return server;
  }

  /** Makes an empty database and returns its URL. */
  async database(): Promise<string> {
    this.#databases += 1;
    const name = `test${this.#databases}`;
    await this.#query('postgres', `CREATE DATABASE ${name}`);
    return this.#url(name);
  }

  /** Starts the server and waits until it answers. */
  async start(): Promise<void> {
    const fsync = this.#options.durable === true ? 'on' : 'off';
    const settings = [
      `port=${this.#port}`,
      'listen_addresses=127.0.0.1',
      'unix_socket_directories=',
      `fsync=${fsync}`,
      'max_connections=200',
      'shared_buffers=32MB',
    ];
    const args = ['-D', join(this.#folder, 'data'), ...settings.flatMap((one) => ['-c', one])];
    const [program, argv] = asUser(join(BIN, 'postgres'), args);
    const child = spawn(program, argv, { stdio: ['ignore', 'ignore', 'pipe'], detached: true });
    this.#process = child;
    let said = '';
    child.stderr?.on('data', (chunk: Buffer) => {
      said = (said + chunk.toString()).slice(-10_000);
    });
    for (;;) {
      if (child.exitCode !== null) throw new Error(`PostgreSQL ended: ${said}`);
      if (await this.#answers()) return;
      // Between two attempts to connect.
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** Ends the server: `fast` as an administrator does, `immediate` as a power failure. */
  async stop(how: 'fast' | 'immediate'): Promise<void> {
    const child = this.#process;
    if (child === undefined) return;
    this.#process = undefined;
    const ended = once(child, 'exit');
    await run(...asUser(join(BIN, 'pg_ctl'), ['stop', '-D', join(this.#folder, 'data'), '-m', how, '-t', '60']));
    await ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop('immediate');
    await rm(this.#folder, { recursive: true, force: true });
  }

  #url(database: string): string {
    return `postgres://contree@127.0.0.1:${this.#port}/${database}`;
  }

  async #query(database: string, statement: string): Promise<void> {
    const client = new Client({ connectionString: this.#url(database) });
    await client.connect();
    try {
      await client.query(statement);
    } finally {
      await client.end();
    }
  }

  async #answers(): Promise<boolean> {
    try {
      await this.#query('postgres', 'SELECT 1');
      return true;
    } catch {
      return false;
    }
  }
}

function idOf(flag: '-u' | '-g'): number {
  return Number(execFileSync('id', [flag, USER], { encoding: 'utf8' }));
}

/** Returns the command as the unprivileged user. */
function asUser(program: string, args: readonly string[]): [string, string[]] {
  if (process.getuid?.() !== 0) return [program, [...args]];
  return ['setpriv', [`--reuid=${USER}`, `--regid=${USER}`, '--clear-groups', '--', program, ...args]];
}

/** Returns a port of loopback that nothing uses. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}
