import type { ConTree } from '../../contract/contree.ts';
import type { ExecSpec } from '../../contract/run.ts';
import { present } from '../../std/present.ts';
import type { Cli } from '../cli.ts';
import type { Register } from '../command.ts';
import { wholeNumber } from '../pages.ts';
import { addProcessOptions, commandOf, environment, processFields, type ProcessOptions } from '../sandbox-options.ts';
import { Attached, terminalSize } from '../terminal/attached.ts';
import { stdinOf, type GuestInput } from '../terminal/guest-input.ts';
import { Interrupts } from '../terminal/interrupts.ts';
import { failureOf } from '../terminal/outcome.ts';
import { instanceNamed } from './instance.ts';

interface ExecOptions extends ProcessOptions {
  readonly shell?: boolean;
  readonly detach?: boolean;
  readonly interactive?: boolean;
  readonly tty?: boolean;
  readonly timeout?: string;
}

export const exec: Register = (program, runner, { separated }) => {
  const command = program
    .command('exec')
    .summary('execute a command in an open instance')
    .description(
      'Execute a command in an open instance. Several may run side by side. A single argument with spaces is a shell ' +
        'command; several are a program and its arguments. The exit code is that of the command (124: timed out).',
    )
    .usage('[options] <instance> [--] <command> [args...]')
    .argument('<instance>', 'UUID, or its beginning')
    .argument('[command...]')
    .option('-s, --shell', 'run the command in a shell')
    .option('-d, --detach', 'print the number of the process and return')
    .option('-i, --interactive', 'forward standard input even from a terminal')
    .option('-t, --tty', 'allocate a terminal; use -it for an interactive shell')
    .option('--timeout <SECONDS>', 'stop the command after this time (default: none)');
  addProcessOptions(command);
  command.passThroughOptions(!separated);
  command.action(
    runner(async (cli, options: ExecOptions, [name, words]: [string, readonly string[]]) => {
      const input = stdinOf(cli.host.stdin, options);
      const spec = execSpec(cli, words, { options, input });
      const contree = await cli.contree();
      const instance = await instanceNamed(contree, name, cli.signal);
      if (options.detach) {
        const { spid } = await contree.processes.start(instance, spec, cli.signal);
        return cli.print({ instance, process: spid }, `${spid}\n`);
      }
      using interrupts = new Interrupts(cli);
      const { exitCode, spid } = await execute(cli, contree, { instance, spec, input, interrupts });
      if (cli.json) await cli.print(await contree.processes.get(instance, spid), '');
      return interrupts.exitCode ?? exitCode;
    }),
  );
};

interface Execution {
  readonly instance: string;
  readonly spec: ExecSpec;
  readonly input: GuestInput;
  readonly interrupts: Interrupts;
}

/**
 * Executes a command in an open instance with our terminal or pipes as its own, and returns its exit code. Rejects with
 * the fault that ended the instance.
 */
export async function execute(
  cli: Cli,
  contree: ConTree,
  { instance, spec, input, interrupts }: Execution,
): Promise<{ readonly exitCode: number; readonly spid: number }> {
  const { spid } = await contree.processes.start(instance, spec, interrupts.impatient);
  const tty = spec.tty !== undefined;
  await using attached = new Attached(cli, contree, instance, { input, tty, interrupts, spid });
  const { exitCode } = await attached.follow();
  if (exitCode !== undefined) return { exitCode, spid };
  throw failureOf(await contree.operations.get(instance, { output_bytes: 0 }));
}

function execSpec(
  cli: Cli,
  words: readonly string[],
  { options, input }: { readonly options: ExecOptions; readonly input: GuestInput },
): ExecSpec {
  const { env, timeout, tty } = options;
  return {
    ...commandOf(words, options),
    ...processFields(options),
    ...present({
      env: env && variables(env, cli.host.env),
      timeout: timeout === undefined ? undefined : wholeNumber(timeout, '--timeout'),
      stdin: input.kind === 'none' ? undefined : input.first,
      tty: tty ? terminalSize(cli.host.stdout) : undefined,
    }),
  };
}

/** Returns the variables that are set; one that this environment does not have is left as it is in the instance. */
function variables(settings: readonly string[], env: Cli['host']['env']): Record<string, string> {
  const set = Object.entries(environment(settings, env)).flatMap(([name, value]) =>
    value === null ? [] : [[name, value] as const],
  );
  return Object.fromEntries(set);
}
