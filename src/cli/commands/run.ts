import { fault } from '../../contract/errors.ts';
import { limits } from '../../contract/limits.ts';
import type { InstanceSpawnRequest } from '../../contract/run.ts';
import type { ConTree } from '../../contract/contree.ts';
import { present } from '../../std/present.ts';
import { imageReference, type Cli } from '../cli.ts';
import type { Register } from '../command.ts';
import {
  addProcessOptions,
  addSandboxOptions,
  commandOf,
  environment,
  processFields,
  sandboxFields,
  type ProcessOptions,
  type SandboxOptions,
} from '../sandbox-options.ts';
import { Attached, terminalSize } from '../terminal/attached.ts';
import { Interrupts } from '../terminal/interrupts.ts';
import { failureOf } from '../terminal/outcome.ts';
import { wholeNumber } from '../pages.ts';
import { stdinOf, wholeInput, type GuestInput } from '../terminal/guest-input.ts';
import { formatSeconds } from '../text.ts';

export interface RunOptions extends ProcessOptions, SandboxOptions {
  readonly shell?: boolean;
  readonly disposable?: boolean;
  readonly keep?: boolean;
  readonly tag?: string;
  readonly detach?: boolean;
  readonly interactive?: boolean;
  readonly tty?: boolean;
  readonly preserveEnv?: boolean;
  readonly timeout?: string;
  readonly reuse?: boolean;
  readonly reuseNetwork?: boolean;
}

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
    .option('--preserve-env', 'save the variables in the new image')
    .option(
      '--timeout <SECONDS>',
      `stop the command after this time (default: ${limits.commandTimeoutSecondsDefault}; with -t ${limits.commandTimeoutSecondsMax})`,
    )
    .option('--reuse', 'answer with the recorded result of an equal run that ended with 0; reads input only with -i')
    .option('--reuse-network', 'the same, also with that of a run that used its network');
  addProcessOptions(command);
  addSandboxOptions(command);
  // After the image everything belongs to the command, dashes included, unless "--" marks where the command begins.
  command.passThroughOptions(!separated);
  command.action(
    runner(async (cli, options: RunOptions, [image, words]: [string, readonly string[]]) => {
      if (!separated) refuseLateOption(words[0]);
      const input = await inputOf(cli, options);
      const request = await spawnRequest(cli, image, words, { options, input });
      const contree = await cli.contree();
      using interrupts = new Interrupts(cli);
      const { uuid, reused } = await contree.runs.start(request, interrupts.impatient);
      if (reused) await tellReuse(cli, contree, uuid);
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

/** Refuses an option that was typed where the command begins; no program's name begins with a dash. */
function refuseLateOption(word: string | undefined): void {
  if (word?.startsWith('-') !== true) return;
  const reason = `${JSON.stringify(word)} is where the command begins: options come before the image, or "--" before the command`;
  throw fault('ARGUMENT_INVALID', { reason });
}

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
  return {
    image: imageReference(image),
    ...commandOf(words, options),
    ...processFields({ ...options, user: options.user ?? '0' }),
    disposable: options.disposable ?? false,
    env: environment(options.env ?? [], cli.host.env),
    ...timeout(options),
    ...(await sandboxFields(cli, options)),
    ...present({
      preserve_env: options.preserveEnv,
      stdin: input.kind === 'none' ? undefined : input.first,
      reuse: options.reuseNetwork ? 'network' : options.reuse,
      tty: options.tty ? terminalSize(cli.host.stdout) : undefined,
    }),
  };
}

/**
 * Returns the input of the command. A run that may be reused gets all of it at once, because it is a part of what has to be
 * equal, and only on request, because a pipe may stay open forever.
 */
async function inputOf(cli: Cli, options: RunOptions): Promise<GuestInput> {
  const { stdin } = cli.host;
  const live = options.tty || !(options.reuse || options.reuseNetwork);
  if (live) return stdinOf(stdin, options);
  if (!options.interactive) return { kind: 'none' };
  return await wholeInput(stdin);
}

async function tellReuse(cli: Cli, contree: ConTree, uuid: string): Promise<void> {
  const { reused_operation: earlier = '', reused_age: age = 0 } = await contree.operations.get(uuid, {
    output_bytes: 0,
  });
  cli.note(`nothing was run: the result is that of operation ${earlier}, ${formatSeconds(age)} ago`);
}

/** Default timeout with a terminal: people stay in a shell for longer than programs run. */
function timeout({ timeout: asked, tty }: RunOptions): Pick<InstanceSpawnRequest, 'timeout'> {
  if (asked !== undefined) return { timeout: wholeNumber(asked, '--timeout') };
  return tty ? { timeout: limits.commandTimeoutSecondsMax } : {};
}
