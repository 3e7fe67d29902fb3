import { engineArguments, engineFiles, SETTINGS, type Environment, type Settings } from '../config/index.ts';
import { present } from '../std/present.ts';
import { connect, type HttpContree } from './index.ts';

export interface SessionOptions {
  readonly program: string;
  readonly version: string;
  readonly env: Environment;
  /** Program and first arguments of the `contree` command line. */
  readonly self: readonly [string, ...string[]];
  readonly notice?: (text: string) => void;
  /** True to start the engine of this machine when none is running (default). */
  readonly start?: boolean;
}

/** Connects as configured: to `--url`, or to the engine of the data directory, which is started when needed. */
export function openSession(settings: Settings, options: SessionOptions, signal?: AbortSignal): Promise<HttpContree> {
  const { program, version, env, self, notice, start = true } = options;
  const shared = present({ program, version, notice });
  if (settings.url !== '') {
    const { url, token, project } = settings;
    return connect({ ...shared, server: { remote: { url, token, project, env } } }, signal);
  }
  const files = engineFiles(settings.dataDir, env);
  const [node, ...parameters] = self;
  const argv = [node, ...parameters, 'engine', 'run', '--ready-fd=3', ...engineArguments(settings)] as const;
  const command = { argv, env: engineEnvironment(env), log: files.log };
  const local = { socket: files.socket, startLock: files.startLock, command, start };
  return connect({ ...shared, server: { local, project: settings.project } }, signal);
}

/**
 * The engine gets its settings as arguments; the environment variables of the process that starts it must not affect
 * it.
 */
function engineEnvironment(env: Environment): Environment {
  const names = new Set(Object.values(SETTINGS).map((row) => row.env));
  const isSetting = (name: string): boolean => names.has(name.replace(/^CONTREE_MCP_/u, 'CONTREE_'));
  return Object.fromEntries(Object.entries(env).filter(([name]) => !isSetting(name)));
}
