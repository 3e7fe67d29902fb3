import type { Command } from 'commander';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fault } from '../../contract/errors.ts';
import type { Cli } from '../cli.ts';
import type { Register } from '../command.ts';
import { skillText } from '../skill.ts';

/** Name of the skill, and of its folder. */
const SKILL = 'contree';

export const help: Register = (program, run) => {
  program
    .command('help')
    .summary('show the help of a command, or the manual')
    .description('Show the help of the program or of a command; with --all that of all commands.')
    .argument('[command...]', 'for example: run, or auth registry')
    .option('--all', 'the help of all commands, as a manual')
    .action(
      run(async (cli, { all }: { all?: boolean }, [names]: [readonly string[]]) => {
        const pages = all ? everyCommand(program) : [commandAt(program, names)];
        const texts = pages.map((command) => command.helpInformation());
        await cli.print({ help: texts.join('\n') }, texts.join(`\n${'─'.repeat(60)}\n\n`));
      }),
    );
};

function commandAt(program: Command, names: readonly string[]): Command {
  const found = names.reduce<Command | undefined>(
    (command, name) => command?.commands.find((child) => child.name() === name),
    program,
  );
  if (found === undefined) throw fault('ARGUMENT_INVALID', { reason: `there is no command ${names.join(' ')}` });
  return found;
}

/** Returns the program and its commands, each before those below it. */
function everyCommand(command: Command): Command[] {
  return [command, ...command.commands.flatMap(everyCommand)];
}

export const skill: Register = (program, run) => {
  const group = program
    .command('skill')
    .summary('teach agents this command line')
    .description('Teach agents that run commands in a shell, and have no MCP server, how to use this program.');
  const folder = (cli: Cli, { dir }: { dir?: string }): string => {
    const home = cli.host.env['HOME'] || homedir();
    return join(dir ?? join(cli.host.env['CLAUDE_CONFIG_DIR'] || join(home, '.claude'), 'skills'), SKILL);
  };
  const place = ['--dir <DIR>', 'folder of skills (default: ~/.claude/skills)'] as const;
  group
    .command('show')
    .description('Print the skill, for agents that read it elsewhere (AGENTS.md).')
    .action(run(async (cli) => cli.print({ skill: skillText(program) }, skillText(program))));
  group
    .command('install')
    .description('Write the skill, or the one of this version in place of an older one.')
    .option(...place)
    .action(
      run(async (cli, options: { dir?: string }) => {
        const { mkdir } = await import('node:fs/promises');
        const { writeFileAtomically } = await import('../../std/files.ts');
        const path = join(folder(cli, options), 'SKILL.md');
        await mkdir(folder(cli, options), { recursive: true });
        await writeFileAtomically(path, skillText(program), { mode: 0o644 });
        await cli.print({ path }, `${path}\n`);
      }),
    );
  group
    .command('remove')
    .description('Remove the skill.')
    .option(...place)
    .action(
      run(async (cli, options: { dir?: string }) => {
        const { rm } = await import('node:fs/promises');
        await rm(folder(cli, options), { recursive: true, force: true });
        await cli.print({ removed: folder(cli, options) }, '');
      }),
    );
};
