import { createApp } from '../../src/http/app.ts';
import { OWNER } from '../../src/http/auth.ts';
import { PERMISSIONS } from '../../src/contract/permissions.ts';
import { SILENT } from '../../src/http/log.ts';
import { connect, inProcessContree } from '../../src/client/index.ts';
import { httpContree } from '../../src/client/http-contree.ts';
import { Requester } from '../../src/client/requester.ts';
import { HttpTransport } from '../../src/client/transport.ts';
import { IMPORTER, PUSHER, testContree, type ContreeUnderTest } from '../conformance/contree.ts';
import { addRoot, openEngine } from '../engine/bench.ts';
import { serveBench } from '../support/servers/served-engine.ts';

testContree('the engine', async () => {
  const bench = await openEngine({ importer: IMPORTER, pusher: PUSHER });
  return { contree: bench.engine, base: bench.base.uuid, [Symbol.asyncDispose]: () => bench[Symbol.asyncDispose]() };
});

testContree('the engine, for a tenant', async () => {
  const bench = await openEngine({ importer: IMPORTER, pusher: PUSHER });
  const tenant = { project: 'other', token: 'a', limits: { instance_max_concurrency: 50 } };
  const base = await addRoot(bench.store.forProject('other'));
  const contree = bench.engine.forTenant(tenant);
  return { contree, base: base.uuid, project: 'other', [Symbol.asyncDispose]: () => bench[Symbol.asyncDispose]() };
});

testContree('the API without a connection in between', async () => {
  const bench = await openEngine({ importer: IMPORTER, pusher: PUSHER });
  const { engine } = bench;
  const app = createApp({
    contreeFor: (principal) => engine.forTenant(principal),
    log: SILENT,
    version: '1',
    authentication: { kind: 'fixed', principal: OWNER },
  });
  const contree = inProcessContree(app, {});
  return { contree, base: bench.base.uuid, [Symbol.asyncDispose]: () => bench[Symbol.asyncDispose]() };
});

testContree('a client on the unix socket', async (): Promise<ContreeUnderTest> => {
  await using cleanup = new AsyncDisposableStack();
  const served = cleanup.use(await serveBench({ importer: IMPORTER, pusher: PUSHER }));
  const transport = cleanup.use(new HttpTransport({ url: 'http://localhost', socket: served.socket, headers: {} }));
  const contree = httpContree(new Requester({ transport, checked: false }));
  const owned = cleanup.move();
  return { contree, base: served.bench.base.uuid, [Symbol.asyncDispose]: () => owned.disposeAsync() };
});

testContree('a client on TCP, with a token, behind a path prefix', async (): Promise<ContreeUnderTest> => {
  await using cleanup = new AsyncDisposableStack();
  const served = cleanup.use(await serveBench({ importer: IMPORTER, pusher: PUSHER }));
  const { token } = await served.client({ permissions: [...PERMISSIONS] });
  const remote = { url: `${served.address}/sandboxes`, token, project: '', env: {} };
  const connection = cleanup.use(await connect({ version: '1.2.3', program: 'test', server: { remote } }));
  const owned = cleanup.move();
  return { contree: connection, base: served.bench.base.uuid, [Symbol.asyncDispose]: () => owned.disposeAsync() };
});
