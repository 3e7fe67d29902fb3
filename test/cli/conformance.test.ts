import { testSurface, SurfaceFault, type Surface } from '../conformance/surface.ts';
import { runHere } from '../support/cli-bench.ts';
import { serveBench } from '../support/servers/served-engine.ts';

/** Runs `contree` with arguments that select the engine. */
async function commandLine(reach: 'socket' | 'tcp'): Promise<Surface> {
  await using cleanup = new AsyncDisposableStack();
  const served = cleanup.use(await serveBench());
  const { token } = await served.client();
  const remote = { CONTREE_URL: `${served.address}/prefix/`, CONTREE_TOKEN: token };
  const env: Record<string, string> = reach === 'tcp' ? remote : {};
  const raw = async (args: readonly string[]) => runHere(served.bench.directory, args, { env });
  const json = async <Value>(...args: string[]): Promise<Value> => {
    const { stdout } = await raw(['--json', ...args]);
    const value = JSON.parse(stdout) as Value;
    const error = (value as { error?: { code?: string } | null }).error;
    if (typeof error === 'object' && error?.code !== undefined) throw new SurfaceFault(error.code);
    return value;
  };
  const owned = cleanup.move();
  type Operation = { uuid: string; status: string; exit_code: number; result_image_uuid: string | null };
  type Shown = Operation & { metadata: { result: { stdout: { value: string } } } };
  return {
    base: served.bench.base.uuid,
    tag: async (image, name) => void (await json('tag', image, name)),
    images: async () =>
      (await json<{ uuid: string; tag: string | null }[]>('images')).map(({ uuid, tag }) => [uuid, tag] as const),
    run: async (image, script) => {
      const {
        uuid,
        exit_code: exitCode,
        result_image_uuid,
        metadata,
      } = await json<Shown>('run', '-s', image, '--', script);
      return { operation: uuid, exitCode, stdout: metadata.result.stdout.value, image: result_image_uuid };
    },
    start: async (image, script) => (await json<{ operation: string }>('run', '-ds', image, '--', script)).operation,
    cancel: async (operation) => void (await json('cancel', operation)),
    wait: async (operation) => (await json<Operation[]>('wait', operation))[0]?.status ?? '',
    operations: async () => (await json<Operation[]>('ops')).map(({ uuid }) => uuid),
    names: async (image, path) => (await json<{ path: string }[]>('ls', image, path)).map((file) => file.path),
    read: async (image, path) => {
      const { code, stdout } = await raw(['cat', image, path]);
      return code === 0 ? stdout : await json('cat', image, path);
    },
    grep: async (image, pattern) =>
      (await json<{ matches: { path: string }[] }>('grep', pattern, image)).matches.map(({ path }) => path),
    diff: async (from, to) =>
      (await json<{ entries: { path: string }[] }>('diff', from, to)).entries.map(({ path }) => path),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

testSurface('contree on the socket', () => commandLine('socket'));
testSurface('contree --url with a token', () => commandLine('tcp'));
