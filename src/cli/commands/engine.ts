import type { Command } from 'commander';
import { answers, engineLeft } from '../../client/index.ts';
import { engineFiles } from '../../config/index.ts';
import { fault } from '../../contract/errors.ts';
import { limits } from '../../contract/limits.ts';
import type { Cli } from '../cli.ts';
import type { Register, Runner } from '../command.ts';
import { wholeNumber } from '../pages.ts';
import { formatAge, table } from '../text.ts';

export const engine: Register = (program, run) => {
  const group = program
    .command('engine')
    .summary('manage the engine process')
    .description('Manage the engine process of the data directory. It starts on demand and exits when idle.');
  status(group, run);
  stop(group, run);
  live(group, run);
};

/** Reports whether an engine is running; unlike other commands, these must not start one to find out. */
async function running(cli: Cli): Promise<boolean> {
  if (cli.settings.url !== '') return true;
  return answers(engineFiles(cli.settings.dataDir, cli.host.env).socket);
}

function status(group: Command, run: Runner): void {
  group
    .command('status')
    .description('Show whether the engine is running.')
    .action(
      run(async (cli) => {
        if (!(await running(cli)))
          return cli.print({ running: false }, 'no engine is running; the next command starts one\n');
        const found = await (await cli.contree()).engine.status(cli.signal);
        const files = engineFiles(cli.settings.dataDir, cli.host.env);
        const rows = [
          ['version', found.version],
          ['process', String(found.pid)],
          ['started', `${found.started_at} (${formatAge(found.started_at)})`],
          ['operations', found.busy ? 'queued or running' : 'none'],
          ['log', files.log],
        ];
        await cli.print({ running: true, ...found }, table(rows));
      }),
    );
}

function stop(group: Command, run: Runner): void {
  group
    .command('stop')
    .description('Stop the engine. Refuses while operations are queued or running, unless --force is given.')
    .option('--force', 'stop even if operations are running; they fail')
    .action(
      run(async (cli, { force }: { force?: boolean }) => {
        if (!(await running(cli))) return cli.print({ running: false }, 'no engine is running\n');
        await end(cli, { onlyIdle: !force });
        await cli.print({ running: false }, '');
      }),
    );
}

/** Stops the engine and waits until it has ended, if it is one of this machine. */
async function end(cli: Cli, { onlyIdle }: { readonly onlyIdle: boolean }): Promise<void> {
  const { engine } = await cli.contree();
  const { pid, busy } = await engine.status(cli.signal);
  await engine.stop({ only_idle: onlyIdle }, cli.signal);
  if (cli.settings.url !== '') return;
  const seconds = limits.instanceStopMsMax / 1_000;
  if (busy) cli.note(`the engine keeps the changes of open instances before it ends, which may take ${seconds} s`);
  await engineLeft(engineFiles(cli.settings.dataDir, cli.host.env).socket, pid, cli.signal);
}

function live(group: Command, run: Runner): void {
  group
    .command('run')
    .description('Run the engine in the foreground.')
    .option('--ready-fd <DESCRIPTOR>', 'file descriptor to write to when ready')
    .action(
      run(async (cli, options: { readyFd?: string }) => {
        const readyDescriptor = options.readyFd === undefined ? undefined : wholeNumber(options.readyFd, '--ready-fd');
        const print = (line: string): void => void cli.host.stderr.write(`${line}\n`);
        const ready = readyDescriptor === undefined ? {} : { readyDescriptor };
        await cli.host.runEngineProcess(cli.settings, { tcp: false, print, ...ready });
      }),
    );
}

export const serve: Register = (program, run) => {
  program
    .command('serve')
    .summary('serve the API over HTTP')
    .description(
      'Run the engine in the foreground and also serve it over TCP: /v1, /metrics, /healthz. Clients need ' +
        'a token ("contree token create"), unless --auth none is given on loopback.',
    )
    .action(
      run(async (cli) => {
        if (cli.settings.url !== '')
          throw fault('ARGUMENT_INVALID', { reason: 'serve runs the engine of this machine; omit --url' });
        await makeWay(cli);
        await cli.host.runEngineProcess(cli.settings, {
          tcp: true,
          print: (line) => void cli.host.stdout.write(`${line}\n`),
        });
      }),
    );
};

/**
 * Stops an idle background engine to free the data directory; a busy one keeps it, and opening the store then fails.
 */
async function makeWay(cli: Cli): Promise<void> {
  if (!(await running(cli))) return;
  await end(cli, { onlyIdle: true });
}
