import type { Command } from 'commander';
import { fault } from '../contract/errors.ts';
import { limits } from '../contract/limits.ts';
import type { ExecSpec, InstanceSpawnRequest } from '../contract/run.ts';
import { parseBytes } from '../std/sizes.ts';
import { present } from '../std/present.ts';
import type { Cli } from './cli.ts';
import { wholeNumber } from './pages.ts';
import { formatBytes } from './text.ts';
import { injectedFiles } from './transfer/injected-files.ts';

const MIB = 1024 ** 2;

/** Options of a process in a sandbox. */
export interface ProcessOptions {
  readonly env?: readonly string[];
  readonly workdir?: string;
  readonly user?: string;
}

/** Options of a sandbox. */
export interface SandboxOptions {
  readonly hostname?: string;
  readonly sandbox?: string;
  readonly network?: string;
  readonly allow?: readonly string[];
  readonly file?: readonly string[];
  readonly state?: readonly string[];
  readonly cpus?: string;
  readonly memory?: string;
  readonly disk?: string;
}

/** Collects the values of an option that may be given several times. */
export const append = (value: string, earlier: readonly string[] = []): readonly string[] => [...earlier, value];

export function addProcessOptions(command: Command): Command {
  return command
    .option('-e, --env <NAME=VALUE>', 'set a variable; NAME alone copies it from this environment', append)
    .option('-w, --workdir <DIR>', 'working directory; created if missing')
    .option('-u, --user <USER[:GROUP]>', 'user that runs the command, names or numbers (default: root)');
}

export function addSandboxOptions(command: Command): Command {
  return command
    .option('--hostname <NAME>', 'host name of the guest')
    .option('--network <MODE>', 'none, public or allowlist')
    .option('--allow <HOST>', 'domain, address or CIDR block that --network allowlist may reach', append)
    .option('-f, --file <LOCAL:PATH[:MODE]>', 'inject a local file at the start', append)
    .option('--state <ID>', 'inject a directory state at the start (see rsync)', append)
    .option('--sandbox <NAME>', 'microvm, gvisor, or auto for the best that works')
    .option('--cpus <COUNT>', 'number of virtual CPUs')
    .option('--memory <SIZE>', 'memory, for example 2G')
    .option('--disk <SIZE>', 'writable disk space, for example 10G');
}

/** Returns the fields of a request that describe the sandbox. Uploads injected files. Faults: ARGUMENT_INVALID. */
export async function sandboxFields(
  cli: Cli,
  options: SandboxOptions,
): Promise<
  Pick<InstanceSpawnRequest, 'resources_limits' | 'networking' | 'hostname' | 'sandbox' | 'directory_states' | 'files'>
> {
  const { hostname, sandbox, state, file } = options;
  return {
    ...resources(options),
    ...networking(options),
    ...present({
      hostname,
      sandbox: sandbox === undefined ? undefined : sandboxOf(sandbox),
      directory_states: state && [...state],
      files: file && (await injectedFiles(cli, file)),
    }),
  };
}

/** Returns the working directory and the user of a process; the user of the image or instance where none is given. */
export function processFields({ workdir, user }: ProcessOptions): Pick<ExecSpec, 'cwd' | 'uid' | 'gid' | 'user'> {
  return { ...(user !== undefined && identity(user)), ...(workdir !== undefined && { cwd: workdir }) };
}

/** Characters that have a meaning only to a shell. */
const SHELL_CHARACTERS = /[\s|&;<>()$`"'*?{}~#!\\]/u;

/**
 * Returns the command: a single word that needs a shell is a shell command, several words are a program and its
 * arguments.
 */
export function commandOf(
  words: readonly string[],
  { shell, tty }: { readonly shell?: boolean; readonly tty?: boolean },
): Pick<ExecSpec, 'command' | 'args' | 'shell'> {
  const [program, ...args] = words;
  if (program === undefined) {
    if (tty) return { command: '/bin/sh' };
    throw fault('ARGUMENT_INVALID', { reason: 'a command is required' });
  }
  if (shell || (args.length === 0 && SHELL_CHARACTERS.test(program))) return { command: words.join(' '), shell: true };
  return { command: program, args };
}

/** Returns the variables of `NAME=VALUE` and `NAME` arguments; null unsets one that this environment does not have. */
export function environment(
  settings: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): Record<string, string | null> {
  const entries = settings.map((setting): [string, string | null] => {
    const split = setting.indexOf('=');
    if (split > 0) return [setting.slice(0, split), setting.slice(split + 1)];
    if (split === 0 || setting === '') throw fault('ARGUMENT_INVALID', { reason: '--env takes NAME=VALUE or NAME' });
    return [setting, env[setting] ?? null];
  });
  return Object.fromEntries(entries);
}

function sandboxOf(text: string): InstanceSpawnRequest['sandbox'] {
  const name = (['auto', 'microvm', 'gvisor'] as const).find((known) => known === text);
  if (name === undefined) throw fault('ARGUMENT_INVALID', { reason: `--sandbox ${text}: use auto, microvm or gvisor` });
  return name;
}

/** Numbers are sent as the hosted contract has them, names as our addition to it. */
function identity(user: string): Pick<ExecSpec, 'uid' | 'gid' | 'user'> {
  const [, uid, gid] = /^(\d+)(?::(\d+))?$/u.exec(user) ?? [];
  if (uid === undefined) return { user };
  return { uid: Number(uid), ...(gid !== undefined && { gid: Number(gid) }) };
}

function networking({ network, allow }: SandboxOptions): Pick<InstanceSpawnRequest, 'networking'> {
  const mode = network ?? (allow ? 'allowlist' : undefined);
  if (mode === undefined) return {};
  if (mode !== 'none' && mode !== 'public' && mode !== 'allowlist') {
    throw fault('ARGUMENT_INVALID', { reason: '--network takes none, public or allowlist' });
  }
  if (mode === 'allowlist' && allow === undefined) {
    throw fault('ARGUMENT_INVALID', { reason: '--network allowlist needs what may be reached: --allow HOST' });
  }
  if (mode !== 'allowlist' && allow !== undefined) {
    throw fault('ARGUMENT_INVALID', { reason: `--allow has no effect with --network ${mode}` });
  }
  return { networking: present({ enabled: mode !== 'none', mode, allow: allow && [...allow] }) };
}

function resources({ cpus, memory, disk }: SandboxOptions): Pick<InstanceSpawnRequest, 'resources_limits'> {
  if (cpus === undefined && memory === undefined && disk === undefined) return {};
  const { guestCpusMax, guestMemoryMibMin, guestMemoryMibMax, layerBytesMax } = limits;
  return {
    resources_limits: {
      ...(cpus !== undefined && { cpus: wholeNumber(cpus, '--cpus', 1, guestCpusMax) }),
      ...(memory !== undefined && { memory_mib: mebibytes(memory, '--memory', guestMemoryMibMin, guestMemoryMibMax) }),
      ...(disk !== undefined && { max_layer_bytes: sizeOf(disk, '--disk', 1, layerBytesMax) }),
    },
  };
}

function mebibytes(text: string, name: string, min: number, max: number): number {
  return Math.floor(sizeOf(text, name, min * MIB, max * MIB) / MIB);
}

function sizeOf(text: string, name: string, min: number, max: number): number {
  const bytes = parseBytes(text) ?? Number.NaN;
  if (bytes >= min && bytes <= max) return bytes;
  const bounds = `at least ${formatBytes(min)}, at most ${formatBytes(max)}`;
  const reason = `${name} takes a size such as 2G or 512M, ${bounds}, not ${JSON.stringify(text)}`;
  throw fault('ARGUMENT_INVALID', { reason });
}
