import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { command } from '../../../scripts/support/command.ts';
import type { NetworkHost } from './network.ts';
import { freePort } from './postgres.ts';

/** Version of the module that is built. */
const MODULE = 'github.com/versity/versitygw/cmd/versitygw@v1.8.0';
const FOLDER = join(import.meta.dirname, '../../../.build/versitygw');
const PROGRAM = join(FOLDER, 'versitygw');
const BUCKET = 'contree';
const [ACCESS, SECRET] = ['contree-test', 'a secret of the tests'];

/** Builds the gateway, once for a checkout. Needs Go. */
export async function buildVersitygw(): Promise<void> {
  if (existsSync(PROGRAM)) return;
  await mkdir(FOLDER, { recursive: true });
  await command('go', ['install', MODULE], { env: { ...process.env, GOBIN: FOLDER } });
}

/** A server with the API of Amazon S3 over a folder, with one bucket, on loopback. Sets the credentials of this process. */
export class Versitygw implements AsyncDisposable {
  /** Folder whose files are the objects of the bucket. */
  readonly folder: string;
  readonly port: number;
  readonly #place: string;
  readonly #host: NetworkHost | undefined;
  #process: ChildProcess | undefined;

  private constructor(place: string, port: number, host: NetworkHost | undefined) {
    this.#place = place;
    this.#host = host;
    this.folder = join(place, 'root', BUCKET);
    this.port = port;
  }

  /** Opens one, on a host of a test's network if one is given. */
  static async open(host?: NetworkHost): Promise<Versitygw> {
    await buildVersitygw();
    const server = new Versitygw(await mkdtemp(join(tmpdir(), 'contree-versitygw-')), await freePort(), host);
    await mkdir(server.folder, { recursive: true });
    Object.assign(process.env, { AWS_ACCESS_KEY_ID: ACCESS, AWS_SECRET_ACCESS_KEY: SECRET });
    await server.start();
    return server;
  }

  /** Returns the address of its bucket for `--objects`, seen through another port if given. */
  address(prefix = '', port = this.port): string {
    return `s3://${BUCKET}/${prefix}?endpoint=http://${this.#address}:${port}`;
  }

  get #address(): string {
    return this.#host?.address ?? '127.0.0.1';
  }

  /** Starts the server and waits until it takes connections. */
  async start(): Promise<void> {
    const args = [
      '--access',
      ACCESS,
      '--secret',
      SECRET,
      '--port',
      `${this.#address}:${this.port}`,
      '--quiet',
      '--keep-alive',
    ];
    const own = [PROGRAM, [...args, 'posix', join(this.#place, 'root')]] as const;
    const [program, argv] = this.#host?.command(...own) ?? own;
    const child = spawn(program, argv, { stdio: 'ignore' });
    this.#process = child;
    while (!(await this.#accepts())) {
      if (child.exitCode !== null) throw new Error(`versitygw ended with ${child.exitCode}`);
      // Between two attempts to connect.
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Kills the server. */
  async stop(): Promise<void> {
    const child = this.#process;
    if (child === undefined) return;
    this.#process = undefined;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }

  async #accepts(): Promise<boolean> {
    if (this.#host !== undefined) return this.#host.accepts(this.port);
    const socket = createConnection(this.port, '127.0.0.1');
    try {
      await once(socket, 'connect');
      return true;
    } catch {
      return false;
    } finally {
      socket.destroy();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    await rm(this.#place, { recursive: true, force: true });
  }
}
