import type { ConTree } from '../../contract/contree.ts';
import { fault } from '../../contract/errors.ts';
import { SPID_MAIN, isFinished, OPERATION_STATUSES, type OperationStatus } from '../../contract/operation-state.ts';
import type { OperationQuery, OperationResponse } from '../../contract/operation.ts';
import { streamBytes } from '../../contract/stream.ts';
import { present } from '../../std/present.ts';
import type { Cli } from '../cli.ts';
import type { Register } from '../command.ts';
import { addPeriodOptions, collectPages, periodOf, type PeriodOptions } from '../pages.ts';
import { formatAge, formatBytes, formatSeconds, table } from '../text.ts';

/** Statuses of operations that have not ended. */
export const ACTIVE = ['PENDING', 'ASSIGNED', 'EXECUTING'] as const;

interface OpsOptions extends PeriodOptions {
  readonly status?: string;
  readonly kind?: string;
  readonly active?: boolean;
  readonly limit?: string;
  readonly all?: boolean;
  readonly quiet?: boolean;
}

export const ops: Register = (program, run) => {
  const command = program
    .command('ops')
    .summary('list operations')
    .description('List operations, newest first.')
    .option('-s, --status <STATUS>', OPERATION_STATUSES.join(', '))
    .option('-k, --kind <KIND>', 'instance or image_import')
    .option('-a, --active', 'only queued and running operations')
    .option('-n, --limit <COUNT>', 'maximum number of operations', '20')
    .option('--all', 'all of them, whatever the limit')
    .option('-q, --quiet', 'print their UUIDs only')
    .action(
      run(async (cli, options: OpsOptions) => {
        const contree = await cli.contree();
        const read = (query: OperationQuery) =>
          collectPages(
            (page) => contree.operations.list({ ...query, ...page }, cli.signal),
            options.limit,
            options.all,
          );
        const wanted = options.active ? ACTIVE : [statusOf(options.status)];
        const kind = kindOf(options.kind);
        const period = await periodOf(options);
        const lists = await Promise.all(wanted.map((status) => read({ ...present({ status, kind }), ...period })));
        const found = lists.flat();
        await cli.print(found, () => {
          if (options.quiet) return found.map(({ uuid }) => `${uuid}\n`).join('');
          const rows = found.map(({ uuid, kind, status, duration, created_at, result_image_uuid, image_uuid }) => [
            uuid,
            kind,
            status,
            formatSeconds(duration),
            formatAge(created_at),
            result_image_uuid ?? image_uuid ?? '-',
          ]);
          return table([['OPERATION', 'KIND', 'STATUS', 'TIME', 'CREATED', 'IMAGE'], ...rows], [3]);
        });
      }),
    );
  addPeriodOptions(command);
};

function statusOf(text: string | undefined): OperationStatus | undefined {
  const found = OPERATION_STATUSES.find((status) => status === text?.toUpperCase());
  if (text !== undefined && found === undefined) {
    throw fault('ARGUMENT_INVALID', { reason: `--status takes ${OPERATION_STATUSES.join(', ')}` });
  }
  return found;
}

function kindOf(text: string | undefined): 'instance' | 'image_import' | undefined {
  if (text === undefined || text === 'instance' || text === 'image_import') return text;
  throw fault('ARGUMENT_INVALID', { reason: '--kind takes instance or image_import' });
}

export const show: Register = (program, run) => {
  program
    .command('show')
    .summary('show operations or their output')
    .description('Show operations; with --output, the exact output of their commands.')
    .argument('<operation...>', 'UUIDs')
    .option('-o, --output', 'print the output of the command unchanged')
    .option('-f, --follow', 'with --output: follow until the operation ends')
    .action(
      run(async (cli, options: { output?: boolean; follow?: boolean }, [uuids]: [readonly string[]]) => {
        const contree = await cli.contree();
        const found: OperationResponse[] = [];
        for (const uuid of uuids) {
          if (options.output) await replay(cli, contree, uuid, options.follow ?? false);
          // The table shows no output; JSON has it.
          else found.push(await contree.operations.get(uuid, cli.json ? {} : { output_bytes: 0 }, cli.signal));
        }
        if (options.output) return;
        await cli.print(found.length === 1 ? found[0] : found, () =>
          found.map((operation) => described(cli, operation)).join('\n'),
        );
      }),
    );
};

async function replay(cli: Cli, contree: ConTree, uuid: string, follow: boolean): Promise<void> {
  const { stdout, stderr } = cli.host;
  for await (const event of contree.operations.events(uuid, { follow, spid: SPID_MAIN, full: true }, cli.signal)) {
    if (event.type === 'stdout') await cli.write(streamBytes(event.data), stdout);
    if (event.type === 'stderr') await cli.write(streamBytes(event.data), stderr);
  }
}

function described(cli: Cli, operation: OperationResponse): string {
  const { metadata, execution, error_code: code } = operation;
  const isRun = 'command' in metadata;
  const what = isRun ? [metadata.command, ...(metadata.args ?? [])].join(' ') : metadata.registry.url;
  const state = isRun ? metadata.result.state : undefined;
  const rows: (readonly [string, string | number | null | undefined])[] = [
    ['operation', operation.uuid],
    ['kind', operation.kind],
    ['what', cli.name(what)],
    ['status', operation.status],
    ['error', operation.error === null ? undefined : `${operation.error}${code ? ` (${code})` : ''}`],
    ['exit code', state && isFinished(operation.status) && state.exit_code >= 0 ? state.exit_code : undefined],
    ['signal', state && state.signal > 0 ? state.signal : undefined],
    ['timed out', state?.timed_out ? 'yes' : undefined],
    ['created', `${operation.created_at} (${formatAge(operation.created_at)})`],
    ['time', formatSeconds(operation.duration)],
    ['image', operation.image_uuid],
    ['result image', operation.result_image_uuid],
    ['tag', operation.result?.tag],
    ['image size', operation.image_size === null ? undefined : formatBytes(operation.image_size)],
    ['sandbox', execution?.sandbox],
    ['ran on', execution?.accelerator],
    ['steps', execution && steps(execution.steps_ms)],
    ['isolation missing', execution?.jail.missing.length ? execution.jail.missing.join(', ') : undefined],
  ];
  const known = rows.filter(([, value]) => value !== null && value !== undefined);
  return table(known.map(([name, value]) => [name, String(value)]));
}

function steps(ms: Readonly<Record<string, number>>): string {
  return Object.entries(ms)
    .map(([name, value]) => `${name} ${Math.round(value)} ms`)
    .join(', ');
}
