import { httpContree } from '../../src/client/http-contree.ts';
import { connect } from '../../src/client/index.ts';
import { Requester } from '../../src/client/requester.ts';
import { HttpTransport } from '../../src/client/transport.ts';
import type { ConTree } from '../../src/contract/contree.ts';
import { testSurface, SurfaceFault, type Surface } from '../conformance/surface.ts';
import { connectMcp } from '../support/mcp/client.ts';
import { serveBench, type ServedEngine } from '../support/servers/served-engine.ts';

type Reach = (served: ServedEngine, cleanup: AsyncDisposableStack) => Promise<ConTree>;

const WAYS: Readonly<Record<string, Reach>> = {
  'in the engine': async ({ bench }) => bench.engine,
  'on the socket': async ({ socket }, cleanup) => {
    const transport = cleanup.use(new HttpTransport({ url: 'http://localhost', socket, headers: {} }));
    return httpContree(new Requester({ transport, checked: false }));
  },
  'with --url and a token': async (served, cleanup) => {
    const { token } = await served.client();
    const remote = { url: `${served.address}/prefix`, token, env: {} };
    return cleanup.use(await connect({ version: '1.2.3', program: 'test', server: { remote } }));
  },
};

async function tools(reach: Reach): Promise<Surface> {
  await using cleanup = new AsyncDisposableStack();
  const served = cleanup.use(await serveBench());
  const contree = await reach(served, cleanup);
  const mcp = cleanup.use(await connectMcp(contree));
  const call = async <Value>(name: string, args: Record<string, unknown>): Promise<Value> => {
    const { isError, text, structured } = await mcp.call(name, args);
    if (isError) throw new SurfaceFault(/^([A-Z_]+): /u.exec(text)?.[1] ?? text);
    return structured as Value;
  };
  const owned = cleanup.move();
  type Ran = { operation_id: string; exit_code: number | null; stdout: string; image_uuid: string | null };
  return {
    base: served.bench.base.uuid,
    tag: async (image, name) => void (await call('set_tag', { image_uuid: image, tag: name })),
    images: async () => {
      const { images } = await call<{ images: { uuid: string; tag?: string | null }[] }>('list_images', {});
      return images.map(({ uuid, tag }) => [uuid, tag ?? null] as const);
    },
    run: async (image, script) => {
      const ran = await call<Ran>('run', { image, command: script, shell: true, disposable: false });
      return { operation: ran.operation_id, exitCode: ran.exit_code, stdout: ran.stdout, image: ran.image_uuid };
    },
    start: async (image, command) =>
      (await call<Ran>('run', { image, command, shell: true, wait: false })).operation_id,
    cancel: async (operation) => void (await call('cancel_operation', { operation_id: operation })),
    wait: async (operation) => {
      const waited = await call<{ results: Record<string, { status: string }> | { status: string }[] }>(
        'wait_operations',
        { operation_ids: [operation] },
      );
      return Object.values(waited.results)[0]?.status ?? '';
    },
    operations: async () => {
      const { operations } = await call<{ operations: { uuid: string }[] }>('list_operations', {});
      return operations.map(({ uuid }) => uuid);
    },
    names: async (image, path) => {
      const { files } = await call<{ files: { path?: string; name?: string }[] }>('list_files', { image, path });
      return files.map((file) => (file.name ?? file.path ?? '').split('/').at(-1) ?? '');
    },
    read: async (image, path) => (await call<{ content: string }>('read_file', { image, path })).content,
    grep: async (image, pattern) => {
      const { matches } = await call<{ matches: { path: string }[] }>('grep', { image, patterns: [pattern] });
      return matches.map(({ path }) => path);
    },
    diff: async (from, to) => {
      const { entries } = await call<{ entries: { path: string }[] }>('diff', { from_image: from, to_image: to });
      return entries.map(({ path }) => path);
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

for (const [name, reach] of Object.entries(WAYS)) testSurface(`contree-mcp ${name}`, () => tools(reach));
