import { readFileSync } from 'node:fs';
import { findPackageJSON } from 'node:module';
import { dirname, join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import type { CliHost, EngineLife } from '../cli/host.ts';
import type { Program, Settings } from '../config/index.ts';
import type { Mount } from '../http/app.ts';
import type { TcpOptions } from '../http/engine-server.ts';
import type { Where } from '../http/listen.ts';
import type { McpHost } from './mcp-host.ts';

/** First descriptor passed by systemd (sd_listen_fds(3)). */
const SYSTEMD_DESCRIPTOR = 3;

/** Folder of the package, or of the clone, whichever of its copies this file is. */
const PACKAGE_DIR = dirname(findPackageJSON(import.meta.url) ?? '');

function inPackage(path: string): string {
  return join(PACKAGE_DIR, path);
}

function version(): string {
  return (JSON.parse(readFileSync(inPackage('package.json'), 'utf8')) as { version: string }).version;
}

/**
 * Runs one of the package's commands in this process and sets its exit code. Loads only the modules that the command
 * needs.
 */
export async function main(program: Program, argv: readonly string[] = process.argv.slice(2)): Promise<void> {
  endWithReader();
  // Missing in Node 22; the modules that need it are all loaded below.
  if (!('AsyncDisposableStack' in globalThis)) (await import('../std/disposable-stack.ts')).provideDisposableStack();
  if (program === 'contree') {
    const { runCli } = await import('../cli/program.ts');
    process.exitCode = await runCli(cliHost(), argv);
    return;
  }
  const { runMcp } = await import('./mcp-main.ts');
  process.exitCode = await runMcp(mcpHost(), argv);
}

/**
 * Exits quietly when the reader of our output is gone (`contree ls … | head`, a closed terminal).
 */
function endWithReader(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE' && error.code !== 'EIO') throw error;
    process.exit(0);
  });
}

/** Returns the program and first arguments of the `contree` command line, whichever command this process is. */
function self(): readonly [string, ...string[]] {
  return [process.execPath, inPackage('bin/contree')];
}

function cliHost(): CliHost {
  return {
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    env: process.env,
    version: version(),
    self: self(),
    onSignal,
    runEngineProcess,
  };
}

function onSignal(name: NodeJS.Signals, callback: () => void): Disposable {
  process.on(name, callback);
  return { [Symbol.dispose]: () => void process.off(name, callback) };
}

function mcpHost(): McpHost {
  const { env, stderr, stdout } = process;
  const consoleDir = inPackage('console');
  return { env, version: version(), self: self(), cwd: process.cwd(), consoleDir, stderr, stdout, onSignal };
}

/** Runs the engine of a data directory, with the parts that only this process loads. */
async function runEngineProcess(settings: Settings, { tcp, readyDescriptor, print }: EngineLife): Promise<void> {
  // Layers pass through as short-lived buffers: a small young generation frees them early and costs no time.
  setFlagsFromString('--max-semi-space-size=4');
  // Swept by the collection itself: background threads run late on a busy machine, and buffers would pile up.
  setFlagsFromString('--no-concurrent-array-buffer-sweeping');
  setFlagsFromString('--semi-space-growth-factor=1');
  const [life, { openLog }, { openEngine }, { engineFiles }, { IdleMemoryTrimmer }] = await Promise.all([
    import('../http/engine-life.ts'),
    import('../http/log.ts'),
    import('./compose.ts'),
    import('../config/index.ts'),
    import('../std/memory.ts'),
  ]);
  const memory = new IdleMemoryTrimmer();
  const { env } = process;
  const files = engineFiles(settings.dataDir, env);
  const guestDir = inPackage('guest/dist');
  const background = readyDescriptor !== undefined;
  // Whatever an engine makes holds images, output or secrets of its owner.
  process.umask(0o077);
  await using mounts = new AsyncDisposableStack();
  await life.runEngineProcess({
    version: version(),
    // A background engine logs to a file; on a terminal only important lines are shown.
    log: openLog(background ? settings.engineLogLevel : settings.logLevel, 2),
    socket: files.socket,
    tokens: files.tokens,
    idleMs: background ? settings.idleMinutes * 60_000 : 0,
    onRest: () => memory.trim(),
    // Other nodes ask over TCP, so an engine with a socket only never joins a cluster, even if the environment names one.
    open: (log) =>
      openEngine(tcp ? settings : { ...settings, cluster: '' }, { version: version(), env, log, guestDir }),
    ...(background && { readyDescriptor }),
    ...(tcp && { tcp: { ...(await tcpOptions(settings)), mounts: await servedMounts(mounts) } }),
    onReady: (addresses) => {
      if (!background) for (const address of addresses) print(`listening on ${address}`);
    },
  });
}

/**
 * Returns the mounts of `contree serve` besides `/v1`: MCP and the console. Their clients may use neither local folders
 * nor registry accounts of the owner.
 */
async function servedMounts(owned: AsyncDisposableStack): Promise<Mount[]> {
  const [{ mcpMount }, { folderMount }] = await Promise.all([import('./mcp-mount.ts'), import('../http/static.ts')]);
  const page = await folderMount(inPackage('console'));
  const mcp = owned.use(mcpMount({ version: version() }));
  return page === undefined ? [mcp] : [mcp, page];
}

/** Returns the options of the TCP listener. Faults: CONFIG_INVALID when anyone on the network could use it. */
async function tcpOptions(settings: Settings): Promise<TcpOptions> {
  const [{ isLoopback }, { ANYONE }, { fault }] = await Promise.all([
    import('../http/guard.ts'),
    import('../http/auth.ts'),
    import('../contract/errors.ts'),
  ]);
  const { httpListen: host, httpPort: port, auth, allowedHosts: names, tlsCert: cert, tlsKey: key } = settings;
  const handedOver = process.env['LISTEN_PID'] === String(process.pid) && process.env['LISTEN_FDS'] === '1';
  const loopback = isLoopback(host) && !handedOver;
  if (auth === 'none' && !loopback) {
    throw fault('CONFIG_INVALID', { setting: '--auth', reason: 'none is allowed on loopback only' });
  }
  const tls = cert === '' ? {} : { tls: { cert, key } };
  const where: Exclude<Where, { kind: 'unix' }> = handedOver
    ? { kind: 'inherited', descriptor: SYSTEMD_DESCRIPTOR, ...tls }
    : { kind: 'tcp', host, port, ...tls };
  return {
    where,
    authentication: auth === 'none' ? { kind: 'fixed', principal: ANYONE } : 'token',
    names,
    // A public server is reached under any name; its tokens keep others out.
    anyHost: !loopback && names.length === 0,
  };
}
