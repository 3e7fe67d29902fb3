import type { Command } from 'commander';
import { fault } from '../../contract/errors.ts';
import type { Permission } from '../../contract/permissions.ts';
import type { TokenLimits } from '../../contract/server.ts';
import { present } from '../../std/present.ts';
import type { Register, Runner } from '../command.ts';
import { formatAge, table } from '../text.ts';

export const token: Register = (program, run) => {
  const group = program
    .command('token')
    .summary('manage tokens of TCP clients')
    .description('Manage tokens of TCP clients. Only their hashes are stored.');
  create(group, run);
  list(group, run);
  revoke(group, run);
};

const UNIT_SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3_600, d: 86_400, w: 604_800 };

/** Parses a time such as `90d` or `12h` into seconds. */
function seconds(option: string, text: string): number {
  const [, amount, unit = ''] = /^(\d{1,9})([smhdw])$/u.exec(text) ?? [];
  if (amount === undefined) throw fault('ARGUMENT_INVALID', { reason: `${option} takes a time such as 90d or 12h` });
  return Number(amount) * (UNIT_SECONDS[unit] ?? 1);
}

interface CreateOptions {
  readonly maxTimeout?: string;
  readonly maxRuns?: string;
  readonly maxInstances?: string;
  readonly maxLifetime?: string;
  readonly name?: string;
  readonly expires?: string;
  readonly permission?: readonly string[];
}

/** Parses a number of things, of which there is at least one. */
function count(option: string, text: string): number {
  if (!/^[1-9]\d{0,5}$/u.test(text)) throw fault('ARGUMENT_INVALID', { reason: `${option} takes a number from 1` });
  return Number(text);
}

function limitsOf({ maxTimeout, maxRuns, maxInstances, maxLifetime }: CreateOptions): TokenLimits {
  const longest = maxTimeout === undefined ? undefined : seconds('--max-timeout', maxTimeout);
  return present({
    instance_max_timeout: longest,
    images_import_max_timeout: longest,
    instance_max_concurrency: maxRuns === undefined ? undefined : count('--max-runs', maxRuns),
    instances_max_open: maxInstances === undefined ? undefined : count('--max-instances', maxInstances),
    instance_max_lifetime: maxLifetime === undefined ? undefined : seconds('--max-lifetime', maxLifetime),
  });
}

function create(group: Command, run: Runner): void {
  group
    .command('create')
    .description('Create a token and print it; it is shown only once. It works only in the project named by --project.')
    .option('-n, --name <NAME>', 'description, such as who uses it')
    .option('-e, --expires <TIME>', 'lifetime, for example 90d (default: never expires)')
    .option(
      '-p, --permission <NAME...>',
      'permissions: list, spawn, spawn_disposable, import, cancel, set_image_tag, upload, push, delete, metrics, admin (default: all but metrics and admin)',
    )
    .option('--max-timeout <TIME>', 'maximum duration of a run or an import, for example 10m')
    .option('--max-runs <COUNT>', 'maximum number of queued and running runs')
    .option('--max-instances <COUNT>', 'maximum number of open instances')
    .option('--max-lifetime <TIME>', 'maximum life of an instance, for example 8h')
    .action(
      run(async (cli, options: CreateOptions) => {
        const { name, expires, permission } = options;
        const request = {
          limits: limitsOf(options),
          ...present({ name }),
          ...(expires !== undefined && { expires_in: seconds('--expires', expires) }),
          // The server refuses what is none.
          ...(permission && { permissions: permission as Permission[] }),
        };
        const made = await (await cli.contree()).tokens.create(request, cli.signal);
        await cli.print(made, `${made.token}\n`);
      }),
    );
}

function list(group: Command, run: Runner): void {
  group
    .command('list')
    .description('List the tokens without their secrets.')
    .action(
      run(async (cli) => {
        const tokens = await (await cli.contree()).tokens.list(cli.signal);
        await cli.print(tokens, () => {
          const rows = tokens.map((one) => [
            one.uuid,
            cli.name(one.name) || '-',
            one.project,
            formatAge(one.created_at),
            one.expires_at === null ? 'never' : new Date(one.expires_at * 1000).toISOString().slice(0, 16),
            one.permissions.join(' '),
          ]);
          return table([['TOKEN', 'NAME', 'PROJECT', 'CREATED', 'EXPIRES', 'PERMISSIONS'], ...rows]);
        });
      }),
    );
}

function revoke(group: Command, run: Runner): void {
  group
    .command('revoke')
    .description('Revoke tokens with immediate effect.')
    .argument('<token...>', 'UUIDs from "contree token list"')
    .action(
      run(async (cli, _options, [uuids]: [readonly string[]]) => {
        const contree = await cli.contree();
        for (const uuid of uuids) await contree.tokens.revoke(uuid, cli.signal);
        await cli.print({ revoked: uuids }, '');
      }),
    );
}
