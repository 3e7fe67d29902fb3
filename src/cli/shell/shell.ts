import { isFault } from '../../contract/errors.ts';
import { present } from '../../std/present.ts';
import { imageReference, type Cli } from '../cli.ts';
import type { Register } from '../command.ts';
import { tellFailure } from '../failure.ts';
import { secondsOf } from '../instances/instance.ts';
import {
  addProcessOptions,
  addSandboxOptions,
  environment,
  processFields,
  sandboxFields,
  type ProcessOptions,
  type SandboxOptions,
} from '../sandbox-options.ts';
import { quitCode, shellCommand } from './commands.ts';
import { pipedLines, promptedLines } from './lines.ts';
import { ShellSession } from './session.ts';

interface ShellOptions extends ProcessOptions, SandboxOptions {
  readonly command?: string;
  readonly tag?: string;
  readonly idleTimeout?: string;
}

export const shell: Register = (program, runner) => {
  const command = program
    .command('shell')
    .summary('a shell whose every line can be undone')
    .description(
      'Execute lines in an instance of an image, one after the other, as a shell does: variables and the working ' +
        'directory last, with bash functions too. Every line that changes files makes an image, and :undo goes back ' +
        '(:help lists such commands). Without a terminal the lines come from standard input. The exit code is that of ' +
        'the last line.',
    )
    .argument('<image>', 'tag or UUID')
    .option('-c, --command <LINE>', 'execute this instead of reading lines')
    .option('--tag <TAG>', 'tag of the image at the end')
    .option('--idle-timeout <TIME>', 'close the instance after this time without use, for example 2h');
  addProcessOptions(command);
  addSandboxOptions(command);
  command.action(
    runner(async (cli, options: ShellOptions, [image]: [string]) => {
      const { stdin, stdout } = cli.host;
      const tty = options.command === undefined && stdin.isTTY === true && stdout.isTTY === true;
      const request = {
        image: imageReference(image),
        ...processFields(options),
        ...(await sandboxFields(cli, options)),
        ...present({
          env: options.env && environment(options.env, cli.host.env),
          idle_timeout:
            options.idleTimeout === undefined ? undefined : secondsOf(options.idleTimeout, '--idle-timeout'),
        }),
      };
      await using session = await ShellSession.open(cli, { request, name: image, tty });
      const lines = tty ? promptedLines(cli, session) : pipedLines(cli, options.command);
      const exitCode = await executed(cli, session, lines);
      const { image: last } = session.timeline.current;
      if (options.tag !== undefined) await (await cli.contree()).tags.set(last, { tag: options.tag }, cli.signal);
      if (cli.json) await cli.print({ image: last, exit_code: exitCode }, '');
      else cli.note(`image ${last}${options.tag === undefined ? '' : ` tagged ${options.tag}`}`);
      return exitCode;
    }),
  );
};

/** Executes the lines and returns the exit code of the last one. */
async function executed(cli: Cli, session: ShellSession, lines: AsyncIterable<string>): Promise<number> {
  let exitCode = 0;
  for await (const line of lines) {
    const quit = quitCode(line);
    if (quit !== undefined) return quit ?? exitCode;
    if (line.trim() === '') continue;
    try {
      const own = shellCommand(line);
      if (own === undefined) exitCode = await session.run(line);
      else await cli.write(await own(cli, session));
    } catch (error) {
      // What cannot be done is said, and the session goes on.
      if (!isFault(error)) throw error;
      exitCode = tellFailure(cli.host, error, false);
    }
  }
  return exitCode;
}
