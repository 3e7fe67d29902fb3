import { fault } from '../../contract/errors.ts';
import { limits } from '../../contract/limits.ts';
import type { InstanceSpawnRequest } from '../../contract/run.ts';
import { imageReference, type Cli } from '../cli.ts';
import type { Register } from '../command.ts';
import { Attached } from '../terminal/attached.ts';
import type { Output } from '../host.ts';
import { injectedFiles } from '../transfer/injected-files.ts';
import { Interrupts } from '../terminal/interrupts.ts';
import { operationFault } from '../terminal/outcome.ts';
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
  readonly timeout?: string;
  readonly network?: string;
  readonly allow?: readonly string[];
  readonly file?: readonly string[];
  readonly state?: readonly string[];
  readonly cpus?: string;
  readonly memory?: string;
  readonly disk?: string;
}

const collect = (value: string, earlier: readonly string[] = []): readonly string[] => [...earlier, value];

export const run: Register = (program, runner, { separated }) => {
  const command = program
    .command('run')
    .summary('run a command in a fresh microVM of an image')
    .description(
      'Run a command in a fresh microVM of an image. What it changes becomes a new image, unless --disposable. ' +
        'One argument with spaces is a shell line; several are a program and its arguments. Options may stand on ' +
        'both sides of the image when the command follows "--". The exit code is the command’s (124: timed out).',
    )
    .usage('[options] <image> [--] <command> [args...]')
    .argument('<image>', 'tag or UUID')
    .argument('[command...]')
    .option('-s, --shell', 'the command is a shell line')
    .option('-D, --disposable', 'discard what the command changes')
    .option('-k, --keep', 'make an image of what it changes (default)')
    .option('--tag <TAG>', 'name of the new image')
    .option('-d, --detach', 'print the operation and return; "contree show" and "contree wait" find it')
    .option('-i, --interactive', 'keep standard input open even from a terminal')
    .option('-t, --tty', 'give the command a terminal; with -i for a shell')
    .option('-e, --env <NAME=VALUE>', 'set a variable; NAME alone takes its value from here', collect)
    .option('--preserve-env', 'keep the variables in the new image')
    .option('-w, --workdir <DIR>', 'where the command starts; made when missing')
    .option('-u, --user <UID[:GID]>', 'as whom it runs', '0')
    .option('--hostname <NAME>', 'name of the machine it sees')
    .option(
      '--timeout <SECONDS>',
      `end it after this long (default: ${limits.commandTimeoutSecondsDefault}; with -t ${limits.commandTimeoutSecondsMax})`,
    )
    .option('--network <MODE>', 'none, public or allowlist')
    .option('--allow <HOST>', 'what --network allowlist may reach: domain, address or block', collect)
    .option('-f, --file <LOCAL:PATH[:MODE]>', 'put a local file into the image first', collect)
    .option('--state <ID>', 'put a directory state into the image first (see rsync)', collect)
    .option('--cpus <COUNT>', 'virtual processors')
    .option('--memory <SIZE>', 'memory, for example 2G')
    .option('--disk <SIZE>', 'how much it may write, for example 10G');
  // Behind the image everything is the command's, dashes and all, unless "--" says where the command begins.
  command.passThroughOptions(!separated);
  command.action(
    runner(async (cli, options: RunOptions, [image, words]: [string, readonly string[]]) => {
      const input = stdinOf(cli.host.stdin, options);
      const request = await spawnRequest(cli, image, words, { options, input });
      const contree = await cli.contree();
      using interrupts = new Interrupts(cli);
      const { uuid } = await contree.spawn(request, interrupts.impatient);
      if (options.detach) return cli.print({ operation: uuid }, `${uuid}\n`);
      const tty = request.tty !== undefined;
      await using attached = new Attached(cli, contree, uuid, { input, tty, interrupts });
      const { exitCode, image: result } = await attached.follow();
      if (exitCode === undefined) {
        if (interrupts.exitCode !== undefined) return interrupts.exitCode;
        throw operationFault(await contree.getOperation(uuid));
      }
      if (result && options.tag !== undefined) await contree.setTag(result, options.tag);
      if (cli.json) await cli.print(await contree.getOperation(uuid), '');
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
    ...(options.preserveEnv && { preserve_env: true }),
    ...(cwd !== undefined && { cwd }),
    ...(hostname !== undefined && { hostname }),
    ...timeout(options),
    ...resources(options),
    ...networking(options),
    ...(state && { directory_states: [...state] }),
    ...(file && { files: await injectedFiles(cli, file) }),
    ...(input.kind !== 'none' && { stdin: input.first }),
    ...(options.tty && { tty: sizeOf(cli.host.stdout) }),
  };
}

/** Characters that only mean something to a shell. */
const SHELL_CHARACTERS = /[\s|&;<>()$`"'*?{}~#!\\]/u;

/** One word that a shell would have to read is a shell line; several words are a program and its arguments. */
export function commandOf(
  words: readonly string[],
  { shell, tty }: Pick<RunOptions, 'shell' | 'tty'>,
): Pick<InstanceSpawnRequest, 'command' | 'args' | 'shell'> {
  const [program, ...args] = words;
  if (program === undefined) {
    if (tty) return { command: '/bin/sh' };
    throw fault('ARGUMENT_INVALID', { reason: 'a command is needed after the image' });
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

/** Of our terminal; one that does not know its size says zero. */
function sizeOf({ columns, rows }: Output): { columns: number; rows: number } {
  return columns && rows ? { columns, rows } : { columns: 80, rows: 24 };
}

/** People stay in a shell for longer than programs run. */
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
  return { networking: { enabled: mode !== 'none', mode, ...(allow && { allow: [...allow] }) } };
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
