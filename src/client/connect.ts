import { isFault } from '../contract/errors.ts';
import { httpContree, type HttpContree } from './http-contree.ts';
import { engineLeft, ensureEngine, isOlder, type LocalEngineOptions } from './local/engine.ts';
import { Requester } from './requester.ts';
import { HttpTransport } from './transport.ts';

export interface RemoteServer {
  readonly url: string;
  readonly token?: string;
  /** Project on the hosted service. */
  readonly project?: string;
  /** Environment with the proxy variables. */
  readonly env: Readonly<Record<string, string | undefined>>;
}

export interface ConnectOptions {
  /** Version of this program. */
  readonly version: string;
  /** `contree`, `contree-mcp`. */
  readonly program: string;
  readonly server:
    | { readonly remote: RemoteServer }
    /** Local engine; `project` defaults to its default project. */
    | { readonly local: LocalEngineOptions; readonly project?: string };
  /** Shows a notice to the user. */
  readonly notice?: (text: string) => void;
}

/**
 * Connects to a remote server or to the engine of this machine. The latter is started when none runs, and again when a
 * later request finds it gone (engines exit when idle). An idle engine of an older version is replaced by ours.
 *
 * Faults: ENGINE_UNAVAILABLE and the faults of a starting engine. A remote server is first contacted by the first
 * request.
 */
export async function connect(options: ConnectOptions, signal?: AbortSignal): Promise<HttpContree> {
  const { server, version, program } = options;
  const agent = { 'User-Agent': `${program}/${version} node/${process.versions.node}` };
  if ('remote' in server) {
    const { url, token, project, env } = server.remote;
    const headers = {
      ...agent,
      ...(token && { Authorization: `Bearer ${token}` }),
      ...(project && { Project: project }),
    };
    const transport = new HttpTransport({ url, headers }, env);
    return connection(new Requester({ transport, checked: true }), transport);
  }
  const { local, project } = server;
  const headers = { ...agent, ...(project && { Project: project }) };
  const transport = new HttpTransport({ url: 'http://localhost', socket: local.socket, headers });
  const revive = (again?: AbortSignal): Promise<void> => ensureEngine(local, again);
  const opened = connection(new Requester({ transport, checked: false, revive }), transport);
  try {
    if (local.start ?? true) await replaceOlder(opened, options, local, signal);
    else await ensureEngine(local, signal);
    return opened;
  } catch (error) {
    await opened[Symbol.asyncDispose]();
    throw error;
  }
}

function connection(requester: Requester, transport: HttpTransport): HttpContree {
  return httpContree(requester, async () => transport[Symbol.dispose]());
}

async function replaceOlder(
  contree: HttpContree,
  { version, notice }: ConnectOptions,
  local: LocalEngineOptions,
  signal: AbortSignal | undefined,
): Promise<void> {
  // If no engine is listening, this first request starts one.
  const engine = await contree.engine.status(signal);
  if (!isOlder(engine, version)) return;
  try {
    await contree.engine.stop({ only_idle: true }, signal);
  } catch (error) {
    if (!isFault(error, 'ENGINE_BUSY')) throw error;
    notice?.(`an engine of version ${engine.version} is busy; using it until it is idle, then replacing it`);
    return;
  }
  await engineLeft(local.socket, engine.pid, signal);
  await ensureEngine(local, signal);
}
