import type { Command } from 'commander';
import { answers, engineLeft } from '../../client/index.ts';
import { engineFiles } from '../../config/index.ts';
import { fault } from '../../contract/errors.ts';
import type { Cli } from '../cli.ts';
import type { Register, Runner } from '../command.ts';
import { wholeNumber } from '../pages.ts';
import { formatAge, table } from '../text.ts';

export const engine: Register = (program, run) => {
  const group = program
    .command('engine')
    .summary('the engine process of the data directory')
    .description('The engine process of the data directory. It starts by itself and leaves when idle.');
  status(group, run);
  stop(group, run);
  live(group, run);
};

/** Whether an engine runs; unlike other commands these must not start one to find out. */
async function running(cli: Cli): Promise<boolean> {
  if (cli.settings.url !== '') return true;
  return answers(engineFiles(cli.settings.dataDir, cli.host.env).socket);
}

function status(group: Command, run: Runner): void {
  group
    .command('status')
    .description('Show whether it runs.')
    .action(
      run(async (cli) => {
        if (!(await running(cli)))
          return cli.print({ running: false }, 'no engine runs; the next command starts one\n');
        const found = await (await cli.connect()).admin.engine(cli.signal);
        const files = engineFiles(cli.settings.dataDir, cli.host.env);
        const rows = [
          ['version', found.version],
          ['process', String(found.pid)],
          ['started', `${found.started_at} (${formatAge(found.started_at)})`],
          ['operations', found.busy ? 'waiting or running' : 'none'],
          ['log', files.log],
        ];
        await cli.print({ running: true, ...found }, table(rows));
      }),
    );
}

function stop(group: Command, run: Runner): void {
  group
    .command('stop')
    .description('End it. While operations wait or run it stays, unless --force.')
    .option('--force', 'end it all the same; what runs fails')
    .action(
      run(async (cli, { force }: { force?: boolean }) => {
        if (!(await running(cli))) return cli.print({ running: false }, 'no engine runs\n');
        await (await cli.connect()).admin.stopEngine(!force, cli.signal);
        if (cli.settings.url === '')
          await engineLeft(engineFiles(cli.settings.dataDir, cli.host.env).socket, cli.signal);
        await cli.print({ running: false }, '');
      }),
    );
}

function live(group: Command, run: Runner): void {
  group
    .command('run')
    .description('Be the engine, in the foreground.')
    .option('--ready-fd <DESCRIPTOR>', 'where to say that it is ready')
    .action(
      run(async (cli, options: { readyFd?: string }) => {
        const readyDescriptor = options.readyFd === undefined ? undefined : wholeNumber(options.readyFd, '--ready-fd');
        const print = (line: string): void => void cli.host.stderr.write(`${line}\n`);
        const ready = readyDescriptor === undefined ? {} : { readyDescriptor };
        await cli.host.liveAsEngine(cli.settings, { tcp: false, print, ...ready });
      }),
    );
}

export const serve: Register = (program, run) => {
  program
    .command('serve')
    .summary('serve others over HTTP')
    .description(
      'Be the engine of the data directory and serve it over TCP too: /v1 for clients, /metrics, /healthz. Clients need ' +
        'a token ("contree token create"); on loopback --auth none does without.',
    )
    .action(
      run(async (cli) => {
        if (cli.settings.url !== '')
          throw fault('ARGUMENT_INVALID', { reason: 'serve is about this machine; leave out --url' });
        await makeWay(cli);
        await cli.host.liveAsEngine(cli.settings, {
          tcp: true,
          print: (line) => void cli.host.stdout.write(`${line}\n`),
        });
      }),
    );
};

/** An idle engine in the background gives the data directory up; a busy one keeps it, which the store then says. */
async function makeWay(cli: Cli): Promise<void> {
  if (!(await running(cli))) return;
  await (await cli.connect()).admin.stopEngine(true, cli.signal);
  await engineLeft(engineFiles(cli.settings.dataDir, cli.host.env).socket, cli.signal);
}
