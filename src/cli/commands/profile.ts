import type { Command } from 'commander';
import { text } from 'node:stream/consumers';
import { readProfiles, writeProfile } from '../../config/index.ts';
import { fault } from '../../contract/errors.ts';
import { present } from '../../std/present.ts';
import { Cli } from '../cli.ts';
import type { Register, Runner } from '../command.ts';
import { askSecret } from '../terminal/prompt.ts';
import { table } from '../text.ts';

export const profile: Register = (program, run) => {
  const group = program
    .command('profile')
    .summary('manage servers to work with')
    .description(
      'Manage profiles: addresses and tokens of servers, in auth.ini, which only you can read and which the hosted ' +
        "service's own command line shares. --profile NAME or CONTREE_PROFILE selects one, here and in contree-mcp.",
    );
  save(group, run);
  list(group, run);
  remove(group, run);
};

interface SaveOptions {
  readonly tokenStdin?: boolean;
  readonly check?: boolean;
}

function save(group: Command, run: Runner): void {
  group
    .command('save')
    .description('Save a profile with the server of --url. The token is read without echo, and tried there.')
    .argument('<name>')
    .option('--token-stdin', 'read the token from standard input')
    .option('--no-check', 'save the profile without trying it')
    .action(
      run(async (cli, options: SaveOptions, [name]: [string]) => {
        const { url, project } = cli.settings;
        if (url === '') throw fault('ARGUMENT_INVALID', { reason: 'a profile needs an address: --url URL' });
        const given = options.tokenStdin
          ? await text(cli.host.stdin)
          : await askSecret(cli, 'token: ', '--token-stdin');
        const token = given.trim();
        if (token === '') throw fault('ARGUMENT_INVALID', { reason: 'the token is empty' });
        if (options.check !== false) {
          await using other = new Cli(cli.host, { ...cli.settings, token }, 'text');
          await (await other.contree()).system.whoami(cli.signal);
        }
        await writeProfile(cli.host.env, name, present({ url, token, project: project || undefined }));
        await cli.print({ profile: name, url }, `saved profile ${cli.name(name)} (${url})\n`);
      }),
    );
}

function list(group: Command, run: Runner): void {
  group
    .command('list')
    .description('List the profiles. Tokens are never shown.')
    .action(
      run(async (cli) => {
        const { profile: active } = cli.settings;
        const found = readProfiles(cli.host.env).map(({ name, url = '', project = '' }) => ({
          profile: name,
          url,
          ...(project !== '' && { project }),
          selected: name === active,
        }));
        await cli.print(found, () => {
          const rows = found.map((one) => [one.selected ? '*' : '', one.profile, one.url, one.project ?? '-']);
          return table([['', 'PROFILE', 'SERVER', 'PROJECT'], ...rows.map((row) => row.map((cell) => cli.name(cell)))]);
        });
      }),
    );
}

function remove(group: Command, run: Runner): void {
  group
    .command('remove')
    .description('Remove a profile and its token.')
    .argument('<name>')
    .action(
      run(async (cli, _options, [name]: [string]) => {
        const removed = readProfiles(cli.host.env).some((one) => one.name === name);
        if (removed) await writeProfile(cli.host.env, name, undefined);
        await cli.print({ removed }, removed ? '' : `there is no profile ${cli.name(name)}\n`);
      }),
    );
}
