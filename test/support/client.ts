import { connect, type HttpContree } from '../../src/client/index.ts';
import { Requester } from '../../src/client/requester.ts';
import { httpContree } from '../../src/client/http-contree.ts';
import { HttpTransport } from '../../src/client/transport.ts';
import type { TestServer } from './servers/http-server.ts';

/** A client of a test server, over a URL or a Unix socket. */
export async function connectTo(server: TestServer, options: { readonly token?: string } = {}): Promise<HttpContree> {
  if (server.address.startsWith('/')) {
    return clientOfSocket(server.address);
  }
  const remote = { url: `${server.address}/some/prefix`, env: {}, ...options };
  return connect({ version: '1.2.3', program: 'test', server: { remote } });
}

/** A client of the engine that listens on a Unix socket; starts none. */
export function clientOfSocket(socket: string): HttpContree {
  const transport = new HttpTransport({ url: 'http://localhost', socket, headers: {} });
  return httpContree(new Requester({ transport, checked: false }), async () => transport[Symbol.dispose]());
}
