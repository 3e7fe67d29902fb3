import { connect, type Connection } from '../../src/client/index.ts';
import { Requester } from '../../src/client/requester.ts';
import { HttpContree } from '../../src/client/http-contree.ts';
import { Transport } from '../../src/client/transport.ts';
import type { TestServer } from './http-server.ts';

/** A client of a test server, over whatever that listens on. */
export async function connectTo(server: TestServer, options: { readonly token?: string } = {}): Promise<Connection> {
  if (server.address.startsWith('/')) {
    const transport = new Transport({ url: 'http://localhost', socket: server.address, headers: {} });
    const close = async (): Promise<void> => transport[Symbol.dispose]();
    const contree = new HttpContree(new Requester({ transport, checked: false }), close);
    return { contree, admin: undefined as never, [Symbol.asyncDispose]: close };
  }
  const remote = { url: `${server.address}/some/prefix`, env: {}, ...options };
  return connect({ version: '1.2.3', program: 'test', server: { remote } });
}
