import type { Command } from 'commander';
import { QUOTA_PARTS, quotaPart } from '../../config/index.ts';
import { fault } from '../../contract/errors.ts';
import type { ProjectUsage, QuotaChange } from '../../contract/server.ts';
import type { Register, Runner } from '../command.ts';
import { formatBytes, table } from '../text.ts';

export const usage: Register = (program, run) => {
  program
    .command('usage')
    .summary('show what the project uses, and its quota')
    .description('Show the resources that the project uses, and its quota.')
    .action(
      run(async (cli) => {
        const found = await (await cli.contree()).system.usage(cli.signal);
        await cli.print(found, () => {
          const rows = QUOTA_PARTS.map(({ name, field }) => [
            name,
            amount(found.used, field),
            amount(found.quota, field),
          ]);
          const queued = found.queued > 0 ? `${found.queued} operations wait for their turn\n` : '';
          return `project ${cli.name(found.project)}\n${table([['', 'USED', 'QUOTA'], ...rows], [1, 2])}${queued}`;
        });
      }),
    );
};

export const project: Register = (program, run) => {
  const group = program
    .command('project')
    .summary('manage the quotas of projects')
    .description('Manage the quotas of projects. A project exists as soon as something is in it.');
  list(group, run);
  set(group, run);
};

function list(group: Command, run: Runner): void {
  group
    .command('list')
    .description('List the projects with what they use and may use. A quota of their own is marked with *.')
    .action(
      run(async (cli) => {
        const projects = await (await cli.contree()).projects.list(cli.signal);
        await cli.print(projects, () => {
          const head = ['PROJECT', ...QUOTA_PARTS.map(({ name }) => name.toUpperCase()), 'QUEUED'];
          const rows = projects.map((one) => [cli.name(one.project), ...cells(one), String(one.queued)]);
          return table([head, ...rows]);
        });
      }),
    );
}

function cells({ used, quota, own_quota: own }: ProjectUsage): string[] {
  return QUOTA_PARTS.map(({ field }) => {
    const mark = own[field] === undefined ? '' : '*';
    return `${amount(used, field)}${quota[field] === undefined ? '' : ` of ${amount(quota, field)}${mark}`}`;
  });
}

function set(group: Command, run: Runner): void {
  group
    .command('set')
    .description('Change the quota of a project. What it runs and stores already is kept.')
    .argument('<project>', 'name of the project')
    .argument('<quota...>', 'runs=4, cpus=8, memory=8G, instances=4, storage=50G; runs=default for the default again')
    .action(
      run(async (cli, _options, [name, parts]: [string, readonly string[]]) => {
        const changed = await (await cli.contree()).projects.change(name, changeOf(parts), cli.signal);
        await cli.print(changed, '');
      }),
    );
}

/** Parses the parts of a change. Faults: ARGUMENT_INVALID. */
function changeOf(parts: readonly string[]): QuotaChange {
  try {
    return Object.fromEntries(parts.map(quotaPart).map(({ field, value }) => [field, value]));
  } catch (error) {
    throw fault('ARGUMENT_INVALID', { reason: error instanceof Error ? error.message : String(error) });
  }
}

type Field = (typeof QUOTA_PARTS)[number]['field'];

/** Returns an amount as people read it; `-` where there is none. */
function amount(amounts: Partial<Readonly<Record<Field, number | undefined>>>, field: Field): string {
  const value = amounts[field];
  if (value === undefined) return '-';
  if (field === 'storage_bytes') return formatBytes(value);
  return field === 'memory_mib' ? formatBytes(value * 1024 ** 2) : String(value);
}
