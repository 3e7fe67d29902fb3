import { Command, CommanderError } from 'commander';
import type { SettingGroup } from '../config/index.ts';
import { addFormatOptions, addSettings, runner, type Register } from './command.ts';
import { build } from './builds/build.ts';
import { auth } from './commands/auth.ts';
import { cp } from './commands/cp.ts';
import { engine, serve } from './commands/engine.ts';
import { history } from './history/history.ts';
import { images } from './commands/images.ts';
import { install } from './commands/install.ts';
import { help, skill } from './commands/manual.ts';
import { importImage } from './commands/import.ts';
import { cat, diff, grep, ls } from './commands/inspect.ts';
import { ops, show } from './commands/operations.ts';
import { profile } from './commands/profile.ts';
import { push } from './commands/push.ts';
import { run } from './commands/run.ts';
import { doctor, exportImage, gc, whoami } from './commands/store.ts';
import { rm, tag } from './commands/tags.ts';
import { token } from './commands/token.ts';
import { tree } from './commands/tree.ts';
import { cancel, wait } from './commands/waiting.ts';
import { rsync, upload } from './commands/transfer.ts';
import { EXIT, tellFailure } from './failure.ts';
import { exec } from './instances/exec.ts';
import { close, expose, instances, snapshot } from './instances/instances.ts';
import { open } from './instances/open.ts';
import { project, usage } from './projects/projects.ts';
import { shell } from './shell/shell.ts';
import { apply } from './turns/apply.ts';
import { hook } from './turns/hook.ts';
import { redo, undo } from './turns/undo.ts';
import type { CliHost } from './host.ts';

/** Commands by name, in the order of the help, grouped by purpose. */
const COMMANDS: readonly (readonly [group: string, Readonly<Record<string, Register>>])[] = [
  ['Images:', { import: importImage, build, images, tag, tree, history, rm, export: exportImage, push }],
  ['Runs:', { run, ops, show, wait, cancel }],
  ['Instances that stay:', { open, exec, instances, snapshot, expose, close, shell }],
  ['Looking into images (no run needed):', { ls, cat, grep, diff }],
  ['Files:', { rsync, upload, cp }],
  ['Commands of coding agents in instances:', { undo, redo, apply, hook }],
  [
    'This installation:',
    { doctor, gc, engine, serve, token, project, auth, profile, whoami, usage, install, help, skill },
  ],
];
/** Commands that show all others. */
const ABOUT_ALL = new Set(['help', 'skill']);

/** Runs one command line (without program names) and returns its exit code. Writes only to the host's streams. */
export async function runCli(host: CliHost, argv: readonly string[]): Promise<number> {
  let exitCode = 0;
  const program = buildProgram(host, argv, (code) => (exitCode = code));
  try {
    await program.parseAsync(argv, { from: 'user' });
    return exitCode;
  } catch (error) {
    // Commander throws for help and version too; these are not failures.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT.usage;
    return tellFailure(host, error, /(?:^| )--(?:json|format[ =]json)/u.test(ownWords(argv).join(' ')));
  }
}

/** Returns the line without the part that belongs to a guest's command. */
function ownWords(argv: readonly string[]): readonly string[] {
  const separator = argv.indexOf('--');
  return separator === -1 ? argv : argv.slice(0, separator);
}

function buildProgram(host: CliHost, argv: readonly string[], finish: (exitCode: number) => void): Command {
  const program = new Command('contree')
    .description('Run commands as root in sandboxes on your own machine; every run can become an image.')
    .version(host.version, '-V, --version')
    .helpCommand(false)
    .showHelpAfterError('Run "contree --help" or "contree <command> --help" for usage.')
    .exitOverride()
    .configureOutput({
      writeOut: (text) => void host.stdout.write(text),
      writeErr: (text) => void host.stderr.write(text),
      getOutHelpWidth: () => host.stdout.columns ?? 100,
      getErrHelpWidth: () => host.stderr.columns ?? 100,
    });
  program.enablePositionalOptions();
  addSettings(program, ['general', 'server']);
  addFormatOptions(program, true);
  program.addHelpText('after', '\nSettings of the engine and the HTTP server: contree serve --help');
  const line = { separated: argv.includes('--') };
  // Only help and mistakes need to know of the other commands.
  const [first = ''] = argv;
  const isNamed = !ABOUT_ALL.has(first) && COMMANDS.some(([, commands]) => Object.hasOwn(commands, first));
  for (const [group, commands] of COMMANDS) {
    program.commandsGroup(group);
    for (const [name, register] of Object.entries(commands)) {
      if (!isNamed || name === first) register(program, runner(host, finish), line);
    }
  }
  if (ownWords(argv).some((word) => ABOUT_ALL.has(word))) {
    for (const command of program.commands) addShownSettings(command);
  }
  finishWhenNamed(program);
  return program;
}

/** Commands whose help shows settings that other commands only pass on. */
const SHOWN_SETTINGS: Readonly<Record<string, readonly SettingGroup[]>> = { serve: ['engine', 'http', 'cluster'] };

function addShownSettings(command: Command): void {
  addSettings(command, SHOWN_SETTINGS[command.name()] ?? []);
}

/** Adds the settings to the commands that the line names: to all of them takes longer than most commands. */
function finishWhenNamed(command: Command): void {
  for (const child of command.commands) addFormatOptions(child.helpCommand(false), false);
  command.hook('preSubcommand', (_parent, named) => {
    addShownSettings(named);
    finishWhenNamed(named);
  });
}
