import { join } from 'node:path';
import type { Mount } from '../../../src/http/app.ts';
import { serveEngine } from '../../../src/http/engine-server.ts';
import { SILENT, type Log } from '../../../src/http/log.ts';
import { FileTokenStore } from '../../../src/http/tokens.ts';
import type { TokenRequest } from '../../../src/contract/server.ts';
import { engineMetrics } from '../../../src/app/engine-metrics.ts';
import { openEngine, type BenchOptions, type EngineBench } from '../../engine/bench.ts';
import { wire, type Answer, type SendOptions, type Wire } from './http-server.ts';

/** The real engine with the fake driver, served like an engine process: on its socket, and over TCP with tokens. */
export interface ServedEngine extends AsyncDisposable {
  readonly bench: EngineBench;
  readonly socket: string;
  /** URL of the TCP listener. */
  readonly address: string;
  /** Client of the owner, over the socket. */
  readonly owner: Wire;
  /** Returns a client with a new token. */
  client(token?: TokenRequest): Promise<TokenClient>;
}

export interface TokenClient {
  readonly token: string;
  readonly uuid: string;
  send(method: string, path: string, options?: SendOptions): Promise<Answer>;
  open: Wire['open'];
}

export async function serveBench(
  options: BenchOptions & { readonly log?: Log; readonly mounts?: readonly Mount[] } = {},
): Promise<ServedEngine> {
  await using cleanup = new AsyncDisposableStack();
  const bench = cleanup.use(await openEngine(options));
  const { engine, store, directory } = bench;
  const [socket, tokens] = [join(directory, 'engine.sock'), join(directory, 'tokens.json')];
  const stop = new AbortController();
  const ready = Promise.withResolvers<readonly string[]>();
  const served = serveEngine(
    {
      served: {
        contreeFor: (principal) => engine.forTenant(principal),
        connect: (principal, port, signal) => engine.connect(principal, port, signal),
        busy: async () => engine.activeCount > 0,
        projects: engine.projects,
        metrics: () => engineMetrics(engine, store),
      },
      version: '1.2.3',
      log: options.log ?? SILENT,
      socket,
      tokens,
      idleMs: 0,
      tcp: {
        where: { kind: 'tcp', host: '127.0.0.1', port: 0 },
        authentication: 'token',
        names: [],
        anyHost: false,
        ...(options.mounts && { mounts: options.mounts }),
      },
      onReady: ready.resolve,
    },
    stop.signal,
  );
  served.catch(ready.reject);
  const [, address = ''] = await ready.promise;
  cleanup.defer(async () => {
    stop.abort();
    await served;
  });
  const owned = cleanup.move();
  return {
    bench,
    socket,
    address,
    owner: wire(socket),
    client: async (request = {}) => {
      const { token, uuid } = await new FileTokenStore(tokens).create(request);
      const { open } = wire(address);
      const authorized = (given: SendOptions = {}): SendOptions => ({
        ...given,
        headers: { Authorization: `Bearer ${token}`, ...given.headers },
      });
      return {
        token,
        uuid,
        open: (method, path, given) => open(method, path, authorized(given)),
        send: (method, path, given) => wire(address).send(method, path, authorized(given)),
      };
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
