import { fault } from '../../contract/errors.ts';
import { limits } from '../../contract/limits.ts';
import type { InstanceSpawnRequest } from '../../contract/run.ts';
import { present } from '../../std/present.ts';
import { imageReference, type Cli } from '../cli.ts';
import type { Register } from '../command.ts';
import { Attached } from '../terminal/attached.ts';
import type { TerminalOutput } from '../host.ts';
import { injectedFiles } from '../transfer/injected-files.ts';
import { Interrupts } from '../terminal/interrupts.ts';
import { failureOf } from '../terminal/outcome.ts';
import { wholeNumber } from '../pages.ts';
import { stdinOf, type GuestInput } from '../terminal/guest-input.ts';
import { parseBytes } from '../../std/sizes.ts';

export interface RunOptions {
  readonly shell?: boolean;
  readonly disposable?: boolean;
  readonly keep?: boolean;
  readonly tag?: string;
  readonly detach?: boolean;
  readonly interactive?: boolean;
  readonly tty?: boolean;
  readonly env?: readonly string[];
  readonly preserveEnv?: boolean;
  readonly workdir?: string;
  readonly user?: string;
  readonly hostname?: string;
  readonly sandbox?: string;
  readonly timeout?: string;
  readonly network?: string;
  readonly allow?: readonly string[];
  readonly file?: readonly string[];
  readonly state?: readonly string[];
  readonly cpus?: string;
  readonly memory?: string;
  readonly disk?: string;
}

const append = (value: string, earlier: readonly string[] = []): readonly string[] => [...earlier, value];

export const run: Register = (program, runner, { separated }) => {
  const command = program
    .command('run')
    .summary('run a command in a fresh sandbox of an image')
    .description(
      'Run a command in a fresh sandbox of an image. Its changes become a new image unless --disposable is given. ' +
        'A single argument with spaces is a shell command; several are a program and its arguments. Options may be on ' +
        'either side of the image when the command follows "--". The exit code is that of the command (124: timed out).',
    )
    .usage('[options] <image> [--] <command> [args...]')
    .argument('<image>', 'tag or UUID')
    .argument('[command...]')
    .option('-s, --shell', 'run the command in a shell')
    .option('-D, --disposable', 'discard the changes')
    .option('-k, --keep', 'save the changes as a new image (default)')
    .option('--tag <TAG>', 'tag of the new image')
    .option('-d, --detach', 'print the operation id and return; see "contree show" and "contree wait"')
    .option('-i, --interactive', 'forward standard input even from a terminal')
    .option('-t, --tty', 'allocate a terminal; use -it for an interactive shell')
    .option('-e, --env <NAME=VALUE>', 'set a variable; NAME alone copies it from this environment', append)
    .option('--preserve-env', 'save the variables in the new image')
    .option('-w, --workdir <DIR>', 'working directory; created if missing')
    .option('-u, --user <UID[:GID]>', 'user that runs the command', '0')
    .option('--hostname <NAME>', 'host name of the guest')
    .option(
      '--timeout <SECONDS>',
      `stop the command after this time (default: ${limits.commandTimeoutSecondsDefault}; with -t ${limits.commandTimeoutSecondsMax})`,
    )
    .option('--network <MODE>', 'none, public or allowlist')
    .option('--allow <HOST>', 'domain, address or CIDR block that --network allowlist may reach', append)
    .option('-f, --file <LOCAL:PATH[:MODE]>', 'inject a local file before the run', append)
    .option('--state <ID>', 'inject a directory state before the run (see rsync)', append)
    .option('--sandbox <NAME>', 'microvm, gvisor, or auto for the best that works')
    .option('--cpus <COUNT>', 'number of virtual CPUs')
    .option('--memory <SIZE>', 'memory, for example 2G')
    .option('--disk <SIZE>', 'writable disk space, for example 10G');
  // After the image everything belongs to the command, dashes included, unless "--" marks where the command begins.
  command.passThroughOptions(!separated);
  command.action(
    runner(async (cli, options: RunOptions, [image, words]: [string, readonly string[]]) => {
      const input = stdinOf(cli.host.stdin, options);
      const request = await spawnRequest(cli, image, words, { options, input });
      const contree = await cli.contree();
      using interrupts = new Interrupts(cli);
      const { uuid } = await contree.runs.start(request, interrupts.impatient);
      if (options.detach) return cli.print({ operation: uuid }, `${uuid}\n`);
      const tty = request.tty !== undefined;
      await using attached = new Attached(cli, contree, uuid, { input, tty, interrupts });
      const { exitCode, image: result } = await attached.follow();
      if (exitCode === undefined) {
        if (interrupts.exitCode !== undefined) return interrupts.exitCode;
        throw failureOf(await contree.operations.get(uuid, { output_bytes: 0 }));
      }
      if (result && options.tag !== undefined) await contree.tags.set(result, { tag: options.tag });
      if (cli.json) await cli.print(await contree.operations.get(uuid), '');
      else if (result && !options.disposable) cli.note(`image ${result}${options.tag ? ` tagged ${options.tag}` : ''}`);
      return interrupts.exitCode ?? exitCode;
    }),
  );
};

interface Given {
  readonly options: RunOptions;
  readonly input: GuestInput;
}

async function spawnRequest(
  cli: Cli,
  image: string,
  words: readonly string[],
  { options, input }: Given,
): Promise<InstanceSpawnRequest> {
  if (options.disposable && (options.keep || options.tag !== undefined)) {
    throw fault('ARGUMENT_INVALID', { reason: '--disposable keeps no image; leave out --keep and --tag' });
  }
  const { workdir: cwd, hostname, state, file } = options;
  return {
    image: imageReference(image),
    ...commandOf(words, options),
    ...identity(options.user ?? '0'),
    disposable: options.disposable ?? false,
    env: environment(options.env ?? [], cli.host.env),
    ...timeout(options),
    ...resources(options),
    ...networking(options),
    ...present({
      preserve_env: options.preserveEnv,
      cwd,
      hostname,
      sandbox: options.sandbox === undefined ? undefined : sandboxOf(options.sandbox),
      directory_states: state && [...state],
      files: file && (await injectedFiles(cli, file)),
      stdin: input.kind === 'none' ? undefined : input.first,
      tty: options.tty ? sizeOf(cli.host.stdout) : undefined,
    }),
  };
}

function sandboxOf(text: string): InstanceSpawnRequest['sandbox'] {
  const name = (['auto', 'microvm', 'gvisor'] as const).find((known) => known === text);
  if (name === undefined) throw fault('ARGUMENT_INVALID', { reason: `--sandbox ${text}: use auto, microvm or gvisor` });
  return name;
}

/** Characters that have a meaning only to a shell. */
const SHELL_CHARACTERS = /[\s|&;<>()$`"'*?{}~#!\\]/u;

/**
 * Returns the command: a single word that needs a shell is a shell command, several words are a program and its
 * arguments.
 */
export function commandOf(
  words: readonly string[],
  { shell, tty }: Pick<RunOptions, 'shell' | 'tty'>,
): Pick<InstanceSpawnRequest, 'command' | 'args' | 'shell'> {
  const [program, ...args] = words;
  if (program === undefined) {
    if (tty) return { command: '/bin/sh' };
    throw fault('ARGUMENT_INVALID', { reason: 'a command is required after the image' });
  }
  if (shell || (args.length === 0 && SHELL_CHARACTERS.test(program))) return { command: words.join(' '), shell: true };
  return { command: program, args };
}

function environment(
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

/** Returns the size of our terminal; a terminal that does not know its size reports zero. */
function sizeOf({ columns, rows }: TerminalOutput): { columns: number; rows: number } {
  return columns && rows ? { columns, rows } : { columns: 80, rows: 24 };
}

/** Default timeout with a terminal: people stay in a shell for longer than programs run. */
function timeout({ timeout: asked, tty }: RunOptions): Pick<InstanceSpawnRequest, 'timeout'> {
  if (asked !== undefined) return { timeout: wholeNumber(asked, '--timeout') };
  return tty ? { timeout: limits.commandTimeoutSecondsMax } : {};
}

function identity(user: string): { uid: number; gid: number } {
  const [, uid, gid] = /^(\d+)(?::(\d+))?$/u.exec(user) ?? [];
  if (uid === undefined) throw fault('ARGUMENT_INVALID', { reason: '--user takes a number, or two as UID:GID' });
  return { uid: Number(uid), gid: Number(gid ?? uid) };
}

function networking({ network, allow }: RunOptions): Pick<InstanceSpawnRequest, 'networking'> {
  const mode = network ?? (allow ? 'allowlist' : undefined);
  if (mode === undefined) return {};
  if (mode !== 'none' && mode !== 'public' && mode !== 'allowlist') {
    throw fault('ARGUMENT_INVALID', { reason: '--network takes none, public or allowlist' });
  }
  return { networking: present({ enabled: mode !== 'none', mode, allow: allow && [...allow] }) };
}

function resources({ cpus, memory, disk }: RunOptions): Pick<InstanceSpawnRequest, 'resources_limits'> {
  if (cpus === undefined && memory === undefined && disk === undefined) return {};
  const size = (text: string, name: string): number => {
    const bytes = parseBytes(text);
    if (bytes === undefined) throw fault('ARGUMENT_INVALID', { reason: `${name} takes a size such as 2G or 512M` });
    return bytes;
  };
  return {
    resources_limits: {
      ...(cpus !== undefined && { cpus: wholeNumber(cpus, '--cpus') }),
      ...(memory !== undefined && { memory_mib: Math.floor(size(memory, '--memory') / 2 ** 20) }),
      ...(disk !== undefined && { max_layer_bytes: size(disk, '--disk') }),
    },
  };
}
