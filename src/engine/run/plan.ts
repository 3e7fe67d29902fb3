import { fault } from '../../contract/errors.ts';
import type { ImageConfig } from '../../contract/image.ts';
import { limits } from '../../contract/limits.ts';
import type { InstanceOpenRequest } from '../../contract/instance.ts';
import type { ExecSpec, InstanceSpawnRequest } from '../../contract/run.ts';
import type { BootSpec, Command, NetworkPolicy } from '../../sandbox/driver.ts';
import { guestMemoryMib } from '../../sandbox/memory-sizes.ts';
import { parseRule } from '../../sandbox/network-rule.ts';
import { present } from '../../std/present.ts';
import type { Launch } from './live-instance.ts';

/** Hostname on the hosted service, which scripts compare. */
export const HOSTNAME_DEFAULT = 'linuxkit';
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

const TERMINAL = 'xterm-256color';
const NO_TERMINAL = 'dumb';

type Env = Readonly<Record<string, string>>;

/** Request with its defaults filled in (contract of the hosted service). */
export interface RunPlan {
  readonly launch: Launch;
  /** Sandbox of the run, except for its layers. */
  readonly boot: Omit<BootSpec, 'layers'>;
  readonly disposable: boolean;
  /** Configuration of the result image. */
  readonly config: ImageConfig;
}

/** Returns the plan of a request for an image of this configuration. Throws PATH_INVALID or ARGUMENT_INVALID. */
export function planRun(request: InstanceSpawnRequest, config: ImageConfig): RunPlan {
  const { stdin, shell = false } = request;
  const argv = argvOf(request.command, request.args ?? [], shell && shellOf(request.env ?? {}));
  const launch = mainLaunch({ ...request, shell, stdin }, argv, config);
  return {
    launch,
    boot: bootOf(request),
    disposable: request.disposable ?? false,
    config: savedConfig(request, config, launch.command.cwd),
  };
}

/**
 * Returns the plan of an instance that stays. It has no main process: its launch is what its commands take over. Faults
 * as of `planRun`.
 */
export function planOpen(request: InstanceOpenRequest, config: ImageConfig): Omit<RunPlan, 'config'> {
  const launch = mainLaunch(request, [], config);
  return { launch, boot: bootOf(request), disposable: request.disposable ?? false };
}

/** Returns the main process of a request. */
function mainLaunch(
  request: Partial<Omit<InstanceSpawnRequest, 'command'>>,
  argv: readonly string[],
  config: ImageConfig,
): Launch {
  const { stdin, tty, shell = false } = request;
  const changes = request.env ?? {};
  const takesInput = hasInput(stdin);
  const command: Command = {
    argv,
    env: mergeEnv(defaultEnv(tty !== undefined), config.env, changes),
    cwd: workingDirectory(request.cwd, config.cwd || '/'),
    uid: request.uid ?? 0,
    gid: request.gid ?? 0,
    stdin: takesInput,
    ...present({ tty, account: accountOf(request, { ...config.env, ...changes }) }),
  };
  checkSize(command);
  return {
    command,
    shell,
    timeoutSeconds: request.timeout ?? limits.commandTimeoutSecondsDefault,
    shownMax: request.truncate_output_at ?? limits.outputBytesShownDefault,
    stdin: takesInput ? stdin : undefined,
  };
}

function bootOf(request: Omit<InstanceOpenRequest, 'image'>): RunPlan['boot'] {
  const { resources_limits: bounds } = request;
  return {
    cpus: bounds?.cpus ?? limits.guestCpusDefault,
    memoryMib: guestMemoryMib(bounds?.memory_mib ?? limits.guestMemoryMibDefault),
    diskBytes: bounds?.max_layer_bytes ?? limits.layerBytesDefault,
    hostname: request.hostname ?? HOSTNAME_DEFAULT,
    network: networkOf(request),
    ...present({ sandbox: request.sandbox }),
  };
}

function hasInput(stdin: ExecSpec['stdin']): boolean {
  return stdin !== undefined && (stdin.value !== '' || stdin.close === false);
}

/** Returns the plan of a subprocess: missing fields are the main process's. */
export function planExec(spec: ExecSpec, main: Command): Launch {
  const shell = spec.shell ?? false;
  const { stdin, tty } = spec;
  const isMain =
    spec.user === undefined && (spec.uid === undefined || (main.account === undefined && spec.uid === main.uid));
  const command: Command = {
    argv: argvOf(spec.command, spec.args ?? [], shell && shellOf(spec.env ?? {})),
    env: mergeEnv(main.env, terminalEnv(main, tty !== undefined), spec.env ?? {}),
    cwd: workingDirectory(spec.cwd, main.cwd),
    uid: spec.uid ?? main.uid,
    gid: spec.gid ?? (isMain ? main.gid : 0),
    stdin: hasInput(stdin),
    ...present({ tty, account: isMain ? ofMain(main, spec) : accountOf(spec, spec.env ?? {}) }),
  };
  checkSize(command);
  return {
    command,
    shell,
    timeoutSeconds: spec.timeout ?? 0,
    shownMax: spec.truncate_output_at ?? limits.outputBytesShownDefault,
    stdin: command.stdin ? stdin : undefined,
  };
}

/** Returns the configuration of the result image: the own one of the image, with what the request asks to keep. */
function savedConfig(request: InstanceSpawnRequest, config: ImageConfig, cwd: string): ImageConfig {
  // An empty value takes a variable out of what is kept, as null does (contract of the hosted service).
  const kept = Object.entries(request.env ?? {}).map(([name, value]) => [name, value === '' ? null : value] as const);
  return {
    ...config,
    ...(request.preserve_env === true && { env: mergeEnv(config.env, Object.fromEntries(kept)) }),
    ...(request.preserve_cwd === true && { cwd }),
  };
}

/** Returns the shell for a command: the `SHELL` of the request, if it is absolute. */
function shellOf({ SHELL: asked }: Readonly<Record<string, string | null>>): string {
  return asked?.startsWith('/') ? asked : '/bin/sh';
}

/** With a shell, arguments become further words of the expression: clients send `/bin/sh` and `-s` that way. */
function argvOf(command: string, args: readonly string[], shell: string | false): string[] {
  const text = [command, ...args];
  if (text.some((word) => word.includes('\0'))) {
    throw fault('ARGUMENT_INVALID', { reason: 'command: it contains a NUL byte' });
  }
  if (shell === false) {
    if (command === '') throw fault('ARGUMENT_INVALID', { reason: 'command: it is empty' });
    return text;
  }
  return [shell, '-c', [command, ...args.map(quote)].join(' ')];
}

function quote(word: string): string {
  return /^[\w@%+=:,./-]+$/u.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** HOME is that of root; another user's is found when the command starts. */
function defaultEnv(tty: boolean): Env {
  return { PATH, HOME: '/root', TERM: tty ? TERMINAL : NO_TERMINAL };
}

/** A process with a terminal of its own, beside a main one that has none. */
function terminalEnv({ env }: Command, tty: boolean): Env {
  return tty && env['TERM'] === NO_TERMINAL ? { TERM: TERMINAL } : {};
}

/**
 * Returns the user to look up in the guest: one that is named, one whose id is all that the request has of it, or one whose
 * HOME is missing in `env`. Root has a group and a home anyway. Throws ARGUMENT_INVALID for a user given twice.
 */
function accountOf(
  { user, uid, gid }: Pick<ExecSpec, 'user' | 'uid' | 'gid'>,
  env: Readonly<Record<string, unknown>>,
): Command['account'] {
  const home = !('HOME' in env);
  if (user !== undefined) {
    if (uid === undefined && gid === undefined) return { user, home };
    throw fault('ARGUMENT_INVALID', { reason: 'user: give a user, or uid and gid, but not both' });
  }
  if (uid === undefined || uid === 0 || (gid !== undefined && !home)) return undefined;
  return { user: gid === undefined ? `${uid}` : `${uid}:${gid}`, home };
}

/** Returns the user of an instance's commands for one of them, which may have a group of its own. */
function ofMain({ account }: Command, { gid, env }: ExecSpec): Command['account'] {
  if (account === undefined) return undefined;
  const user = gid === undefined ? account.user : `${account.user.split(':', 1)[0]}:${gid}`;
  return { user, home: account.home && !('HOME' in (env ?? {})) };
}

/** Merges environments: later ones win, and null removes a variable. */
function mergeEnv(...layers: readonly Readonly<Record<string, string | null>>[]): Record<string, string> {
  const merged = new Map<string, string>();
  for (const layer of layers) {
    for (const [name, value] of Object.entries(layer)) {
      if (name === '' || /[=\0]/u.test(name) || value?.includes('\0') === true) {
        throw fault('ARGUMENT_INVALID', { reason: `env: ${JSON.stringify(name)} is not a valid variable name` });
      }
      if (value === null) merged.delete(name);
      else merged.set(name, value);
    }
  }
  return Object.fromEntries(merged);
}

function workingDirectory(asked: string | undefined, fallback: string): string {
  const path = asked === undefined || asked === '' ? fallback : asked;
  if (!path.startsWith('/')) throw fault('PATH_INVALID', { path, reason: 'the working directory must be absolute' });
  if (path.includes('\0')) throw fault('PATH_INVALID', { path, reason: 'it contains a NUL byte' });
  return path;
}

/** Returns the network policy of a request. Throws ARGUMENT_INVALID. */
export function networkOf({ networking = {} }: Pick<InstanceSpawnRequest, 'networking'>): NetworkPolicy {
  const { enabled, allow } = networking;
  const asked = networking.mode ?? (allow === undefined ? 'public' : 'allowlist');
  const mode = enabled === false ? 'none' : asked;
  if (mode === 'allowlist') {
    // Refused now, not when it runs.
    for (const rule of allow ?? []) parseRule(rule);
    return { mode, allow: allow ?? [] };
  }
  if (allow !== undefined) {
    throw fault('ARGUMENT_INVALID', { reason: 'networking.allow: it needs networking.mode "allowlist"' });
  }
  return { mode };
}

/**
 * Checks the size of arguments and environment, which the kernel limits together; our limit is below that of any guest.
 */
function checkSize({ argv, env }: Command): void {
  const bytes = (words: readonly string[]): number => words.reduce((sum, word) => sum + Buffer.byteLength(word) + 1, 0);
  if (bytes(argv) > limits.commandBytesMax) {
    throw fault('ARGUMENT_INVALID', { reason: `command: it is larger than ${limits.commandBytesMax} bytes` });
  }
  if (bytes(Object.entries(env).flat()) > limits.envBytesMax) {
    throw fault('ARGUMENT_INVALID', { reason: `env: it is larger than ${limits.envBytesMax} bytes` });
  }
  const tooLong = (text: string): boolean => Buffer.byteLength(text) > limits.argumentBytesMax;
  const bounds = `the ${limits.argumentBytesMax} bytes that Linux passes in one argument or variable; put it into a file`;
  if (argv.some(tooLong)) throw fault('ARGUMENT_INVALID', { reason: `command: a word of it is longer than ${bounds}` });
  const variable = Object.entries(env).find(([name, value]) => tooLong(`${name}=${value}`));
  if (variable !== undefined)
    throw fault('ARGUMENT_INVALID', { reason: `env: ${JSON.stringify(variable[0])} is longer than ${bounds}` });
}
