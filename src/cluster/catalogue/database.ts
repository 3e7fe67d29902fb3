import { Client, escapeIdentifier, Pool, type PoolClient, type QueryConfig, type QueryResult } from 'pg';
import { fault, isFault } from '../../contract/errors.ts';
import type { EngineLog } from '../../engine/log.ts';
import { present } from '../../std/present.ts';

/** Connections of a node. Every statement is short, so a few serve many requests. */
const CONNECTIONS_MAX = 10;
const CONNECT_MS = 5_000;
/** Longest statement, so that a node does not wait for a lock or a server that is gone. */
const STATEMENT_MS = 15_000;
/** Statements that are prepared; the catalogue has fewer. */
const PREPARED_MAX = 200;

type Scalar = string | number | boolean | null | Buffer;

/** Values of a statement. */
export type SqlValue = Scalar | readonly Scalar[];

/** Runs statements: on any connection, or on that of a transaction. */
export interface Sql {
  /** Returns the rows of a statement. Faults: CLUSTER_UNAVAILABLE. */
  rows<Row>(statement: string, ...values: readonly SqlValue[]): Promise<Row[]>;
  /** Returns the number of rows that a statement changed. Faults: CLUSTER_UNAVAILABLE. */
  run(statement: string, ...values: readonly SqlValue[]): Promise<number>;
}

/** Connections to the PostgreSQL database of a cluster. */
export class ClusterDatabase implements Sql, AsyncDisposable {
  readonly #pool: Pool;
  readonly #url: string;
  readonly #log: EngineLog;
  readonly #names = new Map<string, string>();
  #statements = 0;

  constructor(url: string, log: EngineLog) {
    this.#url = url;
    this.#log = log;
    this.#pool = new Pool({
      connectionString: url,
      max: CONNECTIONS_MAX,
      connectionTimeoutMillis: CONNECT_MS,
      statement_timeout: STATEMENT_MS,
      query_timeout: STATEMENT_MS + 1_000,
      keepAlive: true,
      application_name: 'contree',
    });
    // An idle connection that breaks is replaced by the next that is needed.
    // The error itself has the whole client.
    this.#pool.on('error', ({ message }) => log.warn({ reason: message }, 'an idle connection to PostgreSQL broke'));
  }

  /** Number of statements since the start. */
  get statements(): number {
    return this.#statements;
  }

  async rows<Row>(statement: string, ...values: readonly SqlValue[]): Promise<Row[]> {
    return reached(async () => (await this.#query(this.#pool, statement, values)).rows as Row[]);
  }

  async run(statement: string, ...values: readonly SqlValue[]): Promise<number> {
    return reached(async () => (await this.#query(this.#pool, statement, values)).rowCount ?? 0);
  }

  /** Returns the rows of a statement that has to be answered in so many milliseconds. Faults: CLUSTER_UNAVAILABLE. */
  async rowsWithin<Row>(ms: number, statement: string, ...values: readonly SqlValue[]): Promise<Row[]> {
    return reached(async () => (await this.#query(this.#pool, statement, values, ms)).rows as Row[]);
  }

  /**
   * Runs statements in one transaction, which is undone when the body rejects. The body's own faults pass through. When
   * the connection breaks at COMMIT, it is not known whether it took place: callers must be able to find out.
   */
  async transaction<Value>(body: (sql: Sql) => Promise<Value>): Promise<Value> {
    return reached(async () => {
      const client = await this.#pool.connect();
      let broken: Error | undefined;
      // A connection that breaks is told to its statement, too; without a listener the error would end the process.
      const broke = (error: Error): void => {
        broken = error;
      };
      client.on('error', broke);
      try {
        await this.#query(client, 'BEGIN', []);
        const value = await body({
          rows: async <Row>(statement: string, ...values: readonly SqlValue[]) =>
            reached(async () => (await this.#query(client, statement, values)).rows as Row[]),
          run: async (statement, ...values) =>
            reached(async () => (await this.#query(client, statement, values)).rowCount ?? 0),
        });
        await this.#query(client, 'COMMIT', []);
        return value;
      } catch (error) {
        // A connection without an answer would let this wait as long again. The server undoes what was not committed.
        if (isFault(error) ? isFault(error, 'CLUSTER_UNAVAILABLE') : isUnavailable(error)) broken = error as Error;
        else {
          await this.#query(client, 'ROLLBACK', []).catch((undone: Error) => {
            broken = undone;
          });
        }
        throw error;
      } finally {
        client.off('error', broke);
        client.release(broken);
      }
    });
  }

  /**
   * Calls back for every notification on the channels until disposed, and once after each (re)connection, because
   * notifications were missed meanwhile.
   */
  async listen(
    channels: readonly string[],
    heard: (channel: string, payload: string) => void,
  ): Promise<AsyncDisposable> {
    const listener = new Listener(this.#url, channels, heard, this.#log);
    await listener.open();
    return listener;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pool.end();
  }

  #query(on: Pool | PoolClient, text: string, values: readonly SqlValue[], withinMs?: number): Promise<QueryResult> {
    this.#statements += 1;
    const name = this.#nameOf(text, values);
    // The client has a field for the time that its types lack.
    const query = { text, values: [...values], ...present({ name, query_timeout: withinMs }) };
    return on.query(query as QueryConfig);
  }

  /**
   * Returns the name under which a connection prepares a statement, once. Those with lists have none: the plan for a short
   * list in a small table must not stay for long ones in a large table.
   */
  #nameOf(text: string, values: readonly SqlValue[]): string | undefined {
    if (values.length === 0 || values.some((value) => Array.isArray(value))) return undefined;
    const known = this.#names.get(text);
    if (known !== undefined || this.#names.size >= PREPARED_MAX) return known;
    const name = `contree${this.#names.size}`;
    this.#names.set(text, name);
    return name;
  }
}

const RECONNECT_MS = 500;
/** Time between checks that the server is still there, and for its answer: without them a lost connection looks idle. */
const CHECK_MS = 5_000;

/** Connection that only listens. */
class Listener implements AsyncDisposable {
  readonly #url: string;
  readonly #channels: readonly string[];
  readonly #heard: (channel: string, payload: string) => void;
  readonly #log: EngineLog;
  #client: Client | undefined;
  #timer: NodeJS.Timeout | undefined;
  #check: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(
    url: string,
    channels: readonly string[],
    heard: (channel: string, payload: string) => void,
    log: EngineLog,
  ) {
    this.#url = url;
    this.#channels = channels;
    this.#heard = heard;
    this.#log = log;
  }

  /** Connects. Faults: CLUSTER_UNAVAILABLE. */
  async open(): Promise<void> {
    await reached(async () => this.#connect());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    clearInterval(this.#check);
    await this.#client?.end().catch(() => undefined);
  }

  async #connect(): Promise<void> {
    const client = new Client({
      connectionString: this.#url,
      connectionTimeoutMillis: CONNECT_MS,
      query_timeout: CHECK_MS,
      keepAlive: true,
      application_name: 'contree listener',
    });
    client.on('error', (error) => this.#log.warn({ err: error }, 'the listening connection to PostgreSQL broke'));
    client.on('end', () => this.#lost(client));
    client.on('notification', ({ channel, payload = '' }) => this.#heard(channel, payload));
    this.#client = client;
    try {
      await client.connect();
      for (const channel of this.#channels) await client.query(`LISTEN ${escapeIdentifier(channel)}`);
    } catch (error) {
      client.connection.stream.destroy();
      throw error;
    }
    for (const channel of this.#channels) this.#heard(channel, '');
    clearInterval(this.#check);
    this.#check = setInterval(() => {
      // Breaks the connection, which is then made anew.
      client.query('SELECT 1').catch(() => client.connection.stream.destroy());
    }, CHECK_MS);
    this.#check.unref();
  }

  #lost(client: Client): void {
    if (this.#closed || client !== this.#client) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#connect().catch(() => this.#lost(this.#client ?? client)), RECONNECT_MS);
  }
}

/** Gives errors of connections and of the server as the fault that says so; bugs in statements stay what they are. */
async function reached<Value>(body: () => Promise<Value>): Promise<Value> {
  try {
    return await body();
  } catch (error) {
    if (isFault(error) || !isUnavailable(error)) throw error;
    throw fault('CLUSTER_UNAVAILABLE', { reason: (error as Error).message }, { cause: error });
  }
}

/**
 * SQLSTATE classes of a server that cannot work now (PostgreSQL's documentation, appendix A): connection exceptions,
 * insufficient resources, operator intervention, rollbacks by the server, and authorization.
 */
const UNAVAILABLE = /^(?:08|28|40|53|57|3D|25006)/u;
/** Integrity, data and syntax: what a statement of ours did wrong. */
const OURS = /^(?:0A|2[1-7]|42|P0|XX)/u;

/** Reports whether an error is one of the server's or of the way to it. Errors without a SQLSTATE are of the connection. */
function isUnavailable(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const { code } = error as { readonly code?: unknown };
  if (typeof code !== 'string') return /connect|timeout|terminat|closed|ended|ECONN/iu.test(error.message);
  return UNAVAILABLE.test(code) || (!OURS.test(code) && !/^[0-9A-Z]{5}$/u.test(code));
}
