import type { Duplex } from 'node:stream';
import { httpContree, type HttpContree } from '../../client/http-contree.ts';
import { openTunnel } from '../../client/port-tunnel.ts';
import { Requester } from '../../client/requester.ts';
import { HttpTransport, type Outgoing, type Sender, type ServerAnswer } from '../../client/transport.ts';
import { fault, isFault } from '../../contract/errors.ts';
import type { ClusterDatabase } from '../catalogue/database.ts';
import type { ClusterSecret } from './seal.ts';

/** Time for which the address of a node is remembered. */
const REMEMBERED_MS = 2_000;
/** Nodes are near each other; one that is cut off must not hold up those that ask it. */
const PATIENCE = { connectMs: 2_000, answerMs: 20_000 };
/** Time between looks at the lease of a node that takes long to answer. */
const LOOK_MS = 3_000;

interface Address {
  readonly url: string;
  readonly knownMs: number;
}

/** Port of an instance of a project. */
interface PortOfPeer {
  readonly instance: string;
  readonly port: number;
  readonly project: string;
}

/** Other nodes, reached by the HTTP API that clients use. */
export class Peers implements AsyncDisposable {
  readonly #database: ClusterDatabase;
  readonly #token: string;
  readonly #clients = new Map<string, HttpContree>();
  readonly #addresses = new Map<string, Address>();

  constructor(database: ClusterDatabase, secret: ClusterSecret) {
    this.#database = database;
    this.#token = secret.peerToken;
  }

  /** Returns the engine of another node as a project sees it. Faults: NODE_UNREACHABLE when it has no lease. */
  async contree(node: string, project: string): Promise<HttpContree> {
    return this.#client(node, await this.#urlOf(node)).withHeaders({ Project: project });
  }

  /**
   * Connects to a port of an instance of a project that another node has. Faults: NODE_UNREACHABLE when the node has no
   * lease or does not answer in time, and those of the port.
   */
  async tunnel(node: string, { project, ...port }: PortOfPeer, signal: AbortSignal): Promise<Duplex> {
    const url = await this.#urlOf(node);
    const given = new AbortController();
    const silent = (): void => given.abort(fault('NODE_UNREACHABLE', { node, reason: 'it does not answer' }));
    const timer = setTimeout(silent, PATIENCE.answerMs);
    const headers = { Authorization: `Bearer ${this.#token}`, Project: project };
    try {
      return await openTunnel({ url }, { ...port, headers }, AbortSignal.any([signal, given.signal]));
    } catch (error) {
      if (!isFault(error, 'ENGINE_UNAVAILABLE', 'REMOTE_FAILED')) throw error;
      throw fault('NODE_UNREACHABLE', { node, reason: error.message }, { cause: error });
    } finally {
      clearTimeout(timer);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#clients.values()].map((client) => client[Symbol.asyncDispose]()));
  }

  async #urlOf(node: string): Promise<string> {
    const known = this.#addresses.get(node);
    if (known !== undefined && performance.now() - known.knownMs < REMEMBERED_MS) return known.url;
    const statement = 'SELECT url FROM nodes WHERE name = $1 AND lease_until > clock_timestamp()';
    const [row] = await this.#database.rows<{ url: string }>(statement, node);
    if (row === undefined) throw fault('NODE_UNREACHABLE', { node, reason: 'its lease has ended' });
    this.#addresses.set(node, { url: row.url, knownMs: performance.now() });
    return row.url;
  }

  #client(node: string, url: string): HttpContree {
    // Another node may come to an address that one had before.
    const key = `${node} ${url}`;
    const known = this.#clients.get(key);
    if (known !== undefined) return known;
    const http = new HttpTransport({ url, headers: { Authorization: `Bearer ${this.#token}` } }, {}, PATIENCE);
    const transport = new Watched(http, async () => void (await this.#urlOf(node)));
    const client = httpContree(new Requester({ transport, checked: true }), async () => http[Symbol.dispose]());
    this.#clients.set(key, client);
    return client;
  }
}

/** Sends requests to a node, and gives those up whose answer has not begun when the node is lost. */
class Watched implements Sender {
  readonly #sender: Sender;
  readonly #check: () => Promise<void>;

  /** `check` rejects with NODE_UNREACHABLE when the node has no lease. */
  constructor(sender: Sender, check: () => Promise<void>) {
    this.#sender = sender;
    this.#check = check;
  }

  async send(outgoing: Outgoing, signal?: AbortSignal): Promise<ServerAnswer> {
    const lost = new AbortController();
    const look = (): void => {
      this.#check().catch((error: unknown) => isFault(error, 'NODE_UNREACHABLE') && lost.abort(error));
    };
    const timer = setInterval(look, LOOK_MS);
    try {
      return await this.#sender.send(outgoing, signal ? AbortSignal.any([signal, lost.signal]) : lost.signal);
    } finally {
      clearInterval(timer);
    }
  }
}
