import { execFile, execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { appendFile, chmod, chown, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Client } from 'pg';
import type { NetworkHost } from './network.ts';

const run = promisify(execFile);

/** Programs of Debian's package postgresql-15. */
const BIN = '/usr/lib/postgresql/15/bin';
/** Debian's user of PostgreSQL, which refuses to run as root. */
const USER = 'postgres';

export interface PostgresOptions {
  /** True where the server is killed: what it committed must be on the disk. */
  readonly durable?: boolean;
  /** Host of a test's network on which it runs and listens; otherwise it listens on loopback. */
  readonly host?: NetworkHost;
}

/** Time for which a client of a test waits for a server that does not answer. */
const CONNECT_MS = 5_000;

/**
 * A PostgreSQL server of a test, in a folder of its own. The tests reach it through a socket in that folder, whatever its network
 * does.
 */
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
    await chmod(folder, 0o777);
    const data = join(folder, 'data');
    await mkdir(data, { mode: 0o700 });
    if (process.getuid?.() === 0) await chown(data, idOf('-u'), idOf('-g'));
    await run(...asUser(join(BIN, 'initdb'), ['-D', data, '-U', 'contree', '-A', 'trust', '-N', '--locale=C']));
    await letIn(data);
    const server = new Postgres(folder, await freePort(), options);
    await server.start();
    return server;
  }

  /** Starts a server that follows this one, from which a commit here waits for it. `promote` makes it a server of its own. */
  async standby(host: NetworkHost): Promise<Postgres> {
    const folder = await mkdtemp(join(tmpdir(), 'contree-standby-'));
    await chmod(folder, 0o777);
    const data = join(folder, 'data');
    const source = `host=${this.#address} port=${this.#port} user=contree`;
    const [program, args] = asUser(join(BIN, 'pg_basebackup'), [
      '-D',
      data,
      '-R',
      '-X',
      'stream',
      '-d',
      source,
      '-c',
      'fast',
    ]);
    await run(...host.command(program, args));
    const server = new Postgres(folder, this.#port, { ...this.#options, host });
    await server.start();
    await this.#query('postgres', `ALTER SYSTEM SET synchronous_standby_names = '*'`);
    await this.#query('postgres', 'SELECT pg_reload_conf()');
    while (!(await this.#rows('postgres', `SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'`)))
      await pause();
    return server;
  }

  /** Makes a standby take over. */
  async promote(): Promise<void> {
    await this.#query('postgres', 'SELECT pg_promote(true)');
    await this.#query('postgres', `ALTER SYSTEM SET synchronous_standby_names = ''`);
    await this.#query('postgres', 'SELECT pg_reload_conf()');
  }

  /** Makes an empty database and returns its URL. */
  async database(): Promise<string> {
    this.#databases += 1;
    const name = `test${this.#databases}`;
    await this.#query('postgres', `CREATE DATABASE ${name}`);
    return this.url(name);
  }

  /** Writes a copy of a database into a file, while it is used. */
  async dump(url: string, file: string): Promise<void> {
    await run(join(BIN, 'pg_dump'), ['--format=custom', `--file=${file}`, url]);
  }

  /** Makes a database of such a copy, and returns its URL. */
  async restored(file: string): Promise<string> {
    const url = await this.database();
    await run(join(BIN, 'pg_restore'), ['--exit-on-error', `--dbname=${url}`, file]);
    return url;
  }

  /** Starts the server and waits until it answers. */
  async start(): Promise<void> {
    const fsync = this.#options.durable === true ? 'on' : 'off';
    const settings = [
      `port=${this.#port}`,
      `listen_addresses=${this.#options.host === undefined ? this.#address : '*'}`,
      `unix_socket_directories=${this.#folder}`,
      `fsync=${fsync}`,
      'max_connections=200',
      'shared_buffers=32MB',
    ];
    const args = ['-D', join(this.#folder, 'data'), ...settings.flatMap((one) => ['-c', one])];
    const user = asUser(join(BIN, 'postgres'), args);
    const [program, argv] = this.#options.host?.command(...user) ?? user;
    const child = spawn(program, argv, { stdio: ['ignore', 'ignore', 'pipe'], detached: true });
    this.#process = child;
    let said = '';
    child.stderr?.on('data', (chunk: Buffer) => {
      said = (said + chunk.toString()).slice(-10_000);
    });
    for (;;) {
      if (child.exitCode !== null) throw new Error(`PostgreSQL ended: ${said}`);
      if (await this.#answers()) return;
      await pause();
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

  get #address(): string {
    return this.#options.host?.address ?? '127.0.0.1';
  }

  /** Returns the URL of a database, at another address of the server if one is given. */
  url(database: string, address = this.#address): string {
    return `postgres://contree@${address}:${this.#port}/${database}`;
  }

  /** Returns the URL of a database by which this process reaches it, whatever its network does. */
  nearUrl(database: string): string {
    return `postgres://contree@/${database}?host=${this.#folder}&port=${this.#port}`;
  }

  async #query(database: string, statement: string): Promise<void> {
    await this.#rows(database, statement);
  }

  async #rows(database: string, statement: string): Promise<number> {
    const client = new Client({ connectionString: this.nearUrl(database), connectionTimeoutMillis: CONNECT_MS });
    // Told to the statement, too.
    client.on('error', () => undefined);
    await client.connect();
    try {
      return (await client.query(statement)).rowCount ?? 0;
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

/** Lets clients of a test's network in, as those of loopback are. */
async function letIn(data: string): Promise<void> {
  const rules = ['host all all samenet trust', 'host replication all samenet trust', ''];
  await appendFile(join(data, 'pg_hba.conf'), rules.join('\n'));
}

/** Waits between two attempts. */
async function pause(): Promise<void> {
  // Between two attempts to connect.
  await new Promise((resolve) => setTimeout(resolve, 50));
}

function idOf(flag: '-u' | '-g'): number {
  return Number(execFileSync('id', [flag, USER], { encoding: 'utf8' }));
}

/** Returns the command as the unprivileged user. */
function asUser(program: string, args: readonly string[]): [string, string[]] {
  if (process.getuid?.() !== 0) return [program, [...args]];
  const user = [`--reuid=${USER}`, `--regid=${USER}`, '--clear-groups', '--pdeathsig=KILL'];
  return ['setpriv', [...user, '--', program, ...args]];
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
