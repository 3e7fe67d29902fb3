import type { ConTree, ContreeServer } from '../contract/contree.ts';
import { limits } from '../contract/limits.ts';
import { present } from '../std/present.ts';
import { Activity } from './activity.ts';
import { createApp, type App, type AppOptions, type Mount } from './app.ts';
import type { Authentication, Principal } from './auth.ts';
import { HeldAnswers } from './held-answers.ts';
import { either, listen, type Listener, type Where } from './listen.ts';
import type { Log } from './log.ts';
import { HttpMetrics, type Metric } from './metrics.ts';
import type { EngineControl } from './api/call.ts';
import { InstancePages, type ConnectToPage } from './pages/instance-pages.ts';
import { admitOwner, admitPeers, PortTunnel } from './pages/tunnel.ts';
import { FileTokenStore, type TokenStore } from './tokens.ts';
import { aborted } from '../std/abort.ts';

/** Time without requests after which an engine counts as at rest. */
const REST_MS = 1_000;

/** Listener in addition to the Unix socket. */
export interface TcpOptions {
  readonly where: Exclude<Where, { kind: 'unix' }>;
  readonly authentication: 'token' | Authentication;
  /** Accepted host names besides loopback. */
  readonly names: readonly string[];
  /** True to accept any Host, as for a public listener that requires tokens. */
  readonly anyHost: boolean;
  readonly mounts?: readonly Mount[];
}

/** Part of an engine that the server needs. */
export interface ServedEngine {
  /** Returns the ConTree of a principal; it must be cheap. */
  readonly contreeFor: (principal: Principal) => ConTree;
  /** Reports whether an operation of any project is queued or running. */
  readonly busy: () => Promise<boolean>;
  /** Connects to ports of instances, for the pages at their own origins; absent for none. */
  readonly connect?: ConnectToPage;
  /** Returns the principal of another node, by its token; absent for an engine by itself. */
  readonly peerOf?: (token: string) => Principal | undefined;
  /** Quotas of projects; absent where they cannot be changed. */
  readonly projects?: ContreeServer['projects'];
  /** Tokens of its clients; by default those of the file. */
  readonly tokens?: TokenStore;
  /** Reports whether requests can be answered now; absent when they always can. */
  readonly isReady?: () => boolean;
  /** Returns metrics for `/metrics`. */
  readonly metrics?: () => Promise<readonly Metric[]>;
}

export interface EngineServerOptions {
  readonly served: ServedEngine;
  readonly version: string;
  readonly log: Log;
  readonly socket: string;
  readonly tokens: string;
  readonly tcp?: TcpOptions;
  /** Idle time after which the engine exits; 0 means never. */
  readonly idleMs: number;
  /** Called once each time the engine has been at rest for a moment. */
  readonly onRest?: () => void;
  /** Called once with the addresses when clients can connect. */
  readonly onReady: (addresses: readonly string[]) => void;
}

/**
 * Serves an engine until it is asked to stop (`signal`, its own API) or has been idle for long enough. Resolves when
 * the listeners are closed; disposing the ConTree after that is up to its owner.
 */
export async function serveEngine(options: EngineServerOptions, signal: AbortSignal): Promise<string> {
  const stop = new AbortController();
  const ended = AbortSignal.any([signal, stop.signal]);
  const activity = new Activity();
  const engine: EngineControl = {
    version: options.version,
    startedAt: new Date(),
    busy: options.served.busy,
    stop: () => stop.abort('a client asked for it'),
  };
  await using listeners = new AsyncDisposableStack();
  const opened: Listener[] = [];
  for (const { where, app, pages, tunnel } of applications(options, { engine, activity, closing: ended })) {
    const application = createApp(app);
    const listener = listeners.use(await listened(application, { where, activity, ...present({ pages, tunnel }) }));
    if (pages !== undefined) pages.address = listener.address;
    opened.push(listener);
  }
  options.onReady(opened.map(({ address }) => address));
  const { idleMs, onRest } = options;
  using _rest = onRest && whenIdle(options, activity, REST_MS, onRest);
  using _idle = idleMs > 0 ? whenIdle(options, activity, idleMs, () => stop.abort('it was idle')) : undefined;
  await aborted(ended);
  stop.abort();
  return String(ended.reason);
}

async function listened(
  app: App,
  { where, activity, pages, tunnel }: Pick<Served, 'where' | 'pages' | 'tunnel'> & { readonly activity: Activity },
): Promise<Listener> {
  if (tunnel === undefined) return await listen(app, where, activity, pages);
  if (pages === undefined) return await listen(app, where, activity, tunnel);
  return await listen(app, where, activity, either(pages, tunnel));
}

/** Application of a listener; `pages` where browsers reach it, `tunnel` where only the owner or other nodes do. */
interface Served {
  readonly where: Where;
  readonly app: AppOptions;
  readonly pages?: InstancePages;
  readonly tunnel?: PortTunnel;
}

function applications(
  options: EngineServerOptions,
  process: Required<Pick<AppOptions, 'engine' | 'activity' | 'closing'>>,
): Served[] {
  const { served, log, version, tcp } = options;
  const tokens = served.tokens ?? new FileTokenStore(options.tokens);
  const shared = {
    contreeFor: served.contreeFor,
    log,
    version,
    tokens,
    ...process,
    metrics: new HttpMetrics(),
    ...present({ isReady: served.isReady, moreMetrics: served.metrics, projects: served.projects }),
  };
  const local: AppOptions = { ...shared, authentication: { kind: 'owner', verifier: tokens } };
  const socket: Where = { kind: 'unix', path: options.socket };
  const { connect } = served;
  const { closing } = process;
  const principalOf = (token: string): Promise<Principal | undefined> => tokens.principalOf(token);
  const tunnel = connect && new PortTunnel({ connect, admit: admitOwner(principalOf), log, closing });
  if (tcp === undefined) return [{ where: socket, app: local, ...present({ tunnel }) }];
  const authentication =
    tcp.authentication === 'token' ? { kind: 'token' as const, verifier: tokens } : tcp.authentication;
  const origin = { names: tcp.names, anyHost: tcp.anyHost };
  const held = new HeldAnswers(limits.answerBytesHeldMax);
  const isCurrent = async ({ token }: Principal): Promise<boolean> =>
    token === undefined || (await principalOf(token)) !== undefined;
  const pages = connect && new InstancePages({ connect, authentication, origin, log, isCurrent, closing });
  const peers = connect && served.peerOf && new PortTunnel({ connect, admit: admitPeers(served.peerOf), log, closing });
  const remote = { ...shared, ...present({ pages }), held, authentication, origin, ...present({ mounts: tcp.mounts }) };
  return [
    { where: socket, app: { ...local, ...present({ pages }) }, ...present({ tunnel }) },
    { where: tcp.where, app: remote, ...present({ pages, tunnel: peers }) },
  ];
}

/**
 * Calls back once there were no requests and no running operations for the given time. An operation without a client
 * delays the next check by the same time.
 */
function whenIdle(
  { served, log }: EngineServerOptions,
  activity: Activity,
  afterMs: number,
  callback: () => void,
): Disposable {
  return activity.whenQuiet(afterMs, async () => {
    try {
      if (await served.busy()) return 'later';
    } catch (error) {
      log.warn({ reason: String(error) }, 'cannot tell whether the engine is idle');
      return 'later';
    }
    if (activity.inFlight > 0) return 'done';
    callback();
    return 'done';
  });
}
