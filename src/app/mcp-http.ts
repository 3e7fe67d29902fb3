import { createHash, timingSafeEqual } from 'node:crypto';
import { engineFiles, type Settings } from '../config/index.ts';
import { fault } from '../contract/errors.ts';
import { Activity } from '../http/activity.ts';
import type { HttpContree } from '../client/index.ts';
import { openTunnel } from '../client/port-tunnel.ts';
import { createApp, type Mount } from '../http/app.ts';
import { ANYONE, bearer, ON_BEHALF, type Authentication, type TokenVerifier } from '../http/auth.ts';
import { isLoopback } from '../http/guard.ts';
import { listen } from '../http/listen.ts';
import { openLog } from '../http/log.ts';
import { folderMount } from '../http/static.ts';
import { InstancePages, type PagesOptions } from '../http/pages/instance-pages.ts';
import { FileTokenStore } from '../http/tokens.ts';
import type { McpHost } from './mcp-host.ts';
import { keptToken } from './http-token.ts';
import { connectMcp, mcpOptions } from './mcp-options.ts';
import { mcpMount } from './mcp-mount.ts';
import { aborted } from '../std/abort.ts';
import { present } from '../std/present.ts';

/**
 * Runs `contree-mcp --mode http`: MCP at `/mcp`, the API at `/v1`, the console at `/`. A token is asked for: the one
 * that was given, else on loopback one that is made and printed as a link, because every user of the machine reaches
 * loopback.
 */
export async function serveHttp(host: McpHost, settings: Settings, signal: AbortSignal): Promise<void> {
  const { httpListen, httpPort, allowedHosts: names, tlsCert: cert, tlsKey: key } = settings;
  const loopback = isLoopback(httpListen);
  // First, so that a server that may not listen does not start an engine either.
  const endpoint = await endpointFor(settings, loopback, host.env);
  await using shared = await connectMcp(host, settings);
  const { accounts, ...options } = mcpOptions(host, settings);
  // Accounts at registries are those of this machine's owner: whom it gave a token to must not change them.
  const owners = endpoint.ownersOnly && accounts !== undefined;
  await using mcp = mcpMount({ ...options, ...(owners && { accounts }), closing: signal });
  const mounts: Mount[] = [mcp];
  const page = await folderMount(host.consoleDir);
  if (page !== undefined) mounts.push(page);
  const activity = new Activity();
  const log = openLog(settings.logLevel, 2);
  const { authentication } = endpoint;
  const origin = { names, anyHost: !loopback && names.length === 0 };
  const pages = pagesOf(settings, host.env, { authentication, origin, log, closing: signal });
  const app = createApp({
    contreeFor: (_principal, request) => viewOf(shared, endpoint, request),
    version: host.version,
    log,
    authentication,
    origin,
    ...present({ pages }),
    mounts,
    activity,
    closing: signal,
  });
  const tls = cert === '' ? {} : { tls: { cert, key } };
  await using listener = await listen(app, { kind: 'tcp', host: httpListen, port: httpPort, ...tls }, activity, pages);
  const { address } = listener;
  if (pages !== undefined) pages.address = address;
  const console = page === undefined ? '' : `, console at ${address}/`;
  host.stderr.write(`MCP at ${address}/mcp, API at ${address}/v1${console}\n`);
  if (endpoint.made !== undefined) host.stderr.write(signInNote(address, endpoint.made));
  await aborted(signal);
}

/**
 * Returns the pages of instances, whose ports are reached through the engine of this machine, for the client that asks. A
 * remote server has pages of its own.
 */
function pagesOf(
  { url, dataDir }: Settings,
  env: McpHost['env'],
  options: Pick<PagesOptions, 'authentication' | 'origin' | 'log' | 'closing'>,
): InstancePages | undefined {
  if (url !== '') return undefined;
  const files = engineFiles(dataDir, env);
  const tokens = new FileTokenStore(files.tokens);
  return new InstancePages({
    ...options,
    connect: ({ token = 'anyone' }, target, signal) =>
      openTunnel({ socket: files.socket }, { ...target, headers: { [ON_BEHALF]: token } }, signal),
    isCurrent: async ({ token }) => token === undefined || (await tokens.principalOf(token)) !== undefined,
  });
}

/** Authentication of the server, and the origin of its tokens. */
interface Endpoint {
  readonly authentication: Authentication;
  /** Reports whether a token is one of the engine's, and not the one set for this server. */
  readonly isEngineToken: (token: string) => boolean;
  /** True when only the owner has access, or when the owner chose to let everyone in. */
  readonly ownersOnly: boolean;
  /** The token that was made, for the owner to see. */
  readonly made?: string;
}

async function endpointFor(settings: Settings, loopback: boolean, env: McpHost['env']): Promise<Endpoint> {
  const { token, url, dataDir, auth } = settings;
  if (auth === 'none') {
    if (!loopback) throw fault('CONFIG_INVALID', { setting: '--auth', reason: 'none is allowed on loopback only' });
    return { authentication: { kind: 'fixed', principal: ANYONE }, isEngineToken: () => false, ownersOnly: true };
  }
  const files = engineFiles(dataDir, env);
  // With --url the token is ours for the server there, and says nothing about who may come here.
  if (loopback && (token === '' || url !== '')) {
    const made = await keptToken(files.httpToken);
    const verify: TokenVerifier['verify'] = async (given) => (same(made, given) ? ANYONE : undefined);
    const authentication = { kind: 'token', verifier: { verify } } as const;
    return { authentication, isEngineToken: () => false, ownersOnly: true, made };
  }
  const kept = new FileTokenStore(files.tokens);
  if (token === '' && (url !== '' || (await kept.list()).length === 0)) {
    const reason = 'a server on the network needs one, or tokens created with "contree token create"';
    throw fault('CONFIG_INVALID', { setting: '--token', reason });
  }
  const own = (given: string): boolean => token !== '' && same(token, given);
  // A remote server does not know the tokens of this machine.
  const others = url === '' ? kept : { verify: async () => undefined };
  const verify: TokenVerifier['verify'] = async (given) => (own(given) ? ANYONE : others.verify(given));
  const authentication = { kind: 'token', verifier: { verify } } as const;
  return { authentication, isEngineToken: (given) => !own(given), ownersOnly: false };
}

/** Returns the note with the sign-in link. The part after `#` stays in the browser: it is in no request and in no server log. */
function signInNote(address: string, token: string): string {
  const { protocol, hostname, port } = new URL(address);
  const name = hostname === '127.0.0.1' ? 'localhost' : hostname;
  return (
    `open ${protocol}//${name}:${port}/#token=${token}\n` +
    `MCP clients send the header "Authorization: Bearer ${token}"; --auth none asks for no token\n`
  );
}

/**
 * Returns the client for a request: with the engine's token of the request, so that the engine enforces its
 * permissions.
 */
function viewOf(shared: HttpContree, { isEngineToken }: Endpoint, request: Request): HttpContree {
  const token = bearer(request);
  if (token === undefined || !isEngineToken(token)) return shared.withHeaders({ [ON_BEHALF]: 'anyone' });
  const project = request.headers.get('project');
  return shared.withHeaders({ Authorization: `Bearer ${token}`, ...(project !== null && { Project: project }) });
}

function same(token: string, given: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(token), digest(given));
}
