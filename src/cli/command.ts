import { Option, type Command } from 'commander';
import { readSettings, settingsOf, type Setting, type SettingGroup, type SettingName } from '../config/index.ts';
import { Cli } from './cli.ts';
import { OUTPUT_FORMATS, outputFormat, type OutputFormat } from './format.ts';
import type { CliHost } from './host.ts';

/** Facts about the command line as a whole. */
export interface CommandLine {
  /** True when "--" marks the end of our own arguments. */
  readonly separated: boolean;
}

/** Adds one command to the program. */
export type Register = (program: Command, run: Runner, line: CommandLine) => void;

/** Handler of a command; a number is the exit code, undefined means 0. */
export type Handler<Options, Args extends readonly unknown[]> = (
  cli: Cli,
  options: Options,
  args: Args,
) => Promise<number | void>;

/** Turns a handler into an action: reads the settings, runs it, keeps the exit code, closes what was opened. */
export type Runner = <Options, Args extends readonly unknown[]>(
  handler: Handler<Options, Args>,
) => (...args: unknown[]) => Promise<void>;

const GROUPS: Readonly<Record<SettingGroup, string>> = {
  general: 'General settings:',
  server: 'Server settings:',
  engine: 'Engine settings:',
  http: 'HTTP settings:',
  cluster: 'Cluster settings:',
  mcp: 'MCP settings:',
};

/**
 * Adds the settings as options, so that they are accepted anywhere on the line. Help shows only those of `groups`, each
 * with the command it belongs to. Does nothing where they are.
 */
export function addSettings(command: Command, groups: readonly SettingGroup[]): void {
  const rows = settingsOf('contree');
  if (command.options.some(({ long }) => long === `--${rows[0]?.[1].flag}`)) return;
  for (const [, row] of rows) {
    const option = new Option(`--${row.flag}${row.value === undefined ? '' : ` <${row.value}>`}`, describe(row));
    command.addOption(option.helpGroup(GROUPS[row.group]).hideHelp(!groups.includes(row.group)));
  }
}

/** Adds the options for programs that read the output. */
export function addFormatOptions(command: Command, shown: boolean): void {
  const format = `${OUTPUT_FORMATS.join(', ')} (default: text)`;
  command.addOption(new Option('--json', 'print one JSON value instead of text').hideHelp(!shown));
  command.addOption(new Option('--format <FORMAT>', `format of the output: ${format}`).hideHelp(!shown));
}

function describe(row: Setting<unknown>): string {
  const usual = row.defaultText ?? String(row.default);
  return usual === '' ? row.doc : `${row.doc} (default: ${usual})`;
}

/**
 * Returns the settings among commander's option values; their names, such as `dataDir`, are those of the settings
 * table.
 */
function settingFlags(options: Readonly<Record<string, unknown>>): Partial<Record<SettingName, string>> {
  const given = settingsOf('contree')
    .map(([name]) => [name, options[name]] as const)
    .filter(([, value]) => typeof value === 'string' || value === true);
  return Object.fromEntries(given.map(([name, value]) => [name, value === true ? '' : String(value)]));
}

/** Returns the runner of one invocation; `finish` receives the exit code. */
export function runner(host: CliHost, finish: (exitCode: number) => void): Runner {
  return (handler) =>
    async (...received) => {
      // Commander passes the arguments, then the options, then the command.
      const command = received.at(-1) as Command;
      const options = command.optsWithGlobals<Record<string, unknown>>();
      const settings = readSettings({ program: 'contree', flags: settingFlags(options), env: host.env });
      await using cli = new Cli(host, settings, formatOf(options));
      finish((await handler(cli, options as never, received.slice(0, -2) as never)) ?? 0);
    };
}

function formatOf({ format, json }: Readonly<Record<string, unknown>>): OutputFormat {
  if (typeof format === 'string') return outputFormat(format);
  return json === true ? 'json' : 'text';
}
