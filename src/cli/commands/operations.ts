import type { ConTree } from '../../contract/contree.ts';
import { fault } from '../../contract/errors.ts';
import { SPID_MAIN, isFinished, OPERATION_STATUSES, type OperationStatus } from '../../contract/operation-state.ts';
import type { OperationGetQuery, OperationQuery, OperationResponse } from '../../contract/operation.ts';
import { streamBytes } from '../../contract/stream.ts';
import { present } from '../../std/present.ts';
import type { Cli } from '../cli.ts';
import type { Register } from '../command.ts';
import { operationExitCode } from '../terminal/outcome.ts';
import { collectPages } from '../pages.ts';
import { formatAge, formatBytes, formatSeconds, table } from '../text.ts';

interface OpsOptions {
  readonly status?: string;
  readonly kind?: string;
  readonly active?: boolean;
  readonly limit?: string;
}

export const ops: Register = (program, run) => {
  program
    .command('ops')
    .summary('list operations')
    .description('List operations, newest first.')
    .option('-s, --status <STATUS>', OPERATION_STATUSES.join(', '))
    .option('-k, --kind <KIND>', 'instance or image_import')
    .option('-a, --active', 'only queued and running operations')
    .option('-n, --limit <COUNT>', 'maximum number of operations', '20')
    .action(
      run(async (cli, options: OpsOptions) => {
        const contree = await cli.contree();
        const read = (query: OperationQuery) =>
          collectPages((page) => contree.operations.list({ ...query, ...page }, cli.signal), options.limit);
        const wanted = options.active ? (['PENDING', 'ASSIGNED', 'EXECUTING'] as const) : [statusOf(options.status)];
        const kind = kindOf(options.kind);
        const lists = await Promise.all(wanted.map((status) => read(present({ status, kind }))));
        const found = lists.flat();
        await cli.print(found, () => {
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
    .summary('show an operation or its output')
    .description('Show an operation; with --output, the exact output of its command.')
    .argument('<operation>', 'UUID')
    .option('-o, --output', 'print the output of its command unchanged')
    .option('-f, --follow', 'with --output: follow until the operation ends')
    .action(
      run(async (cli, options: { output?: boolean; follow?: boolean }, [uuid]: [string]) => {
        const contree = await cli.contree();
        if (options.output) return replay(cli, contree, uuid, options.follow ?? false);
        // The table shows no output; JSON has it.
        const operation = await contree.operations.get(uuid, cli.json ? {} : { output_bytes: 0 }, cli.signal);
        await cli.print(operation, () => described(cli, operation));
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

/** Exit code when some of several operations failed; the code of each is in the JSON. */
const SOME_FAILED = 1;

export const wait: Register = (program, run) => {
  program
    .command('wait')
    .summary('wait until operations end')
    .description(
      'Wait until operations end. For one operation the exit code is that of its command; for several it is 0 when ' +
        'all succeeded. Ctrl-C stops waiting, not the operations.',
    )
    .argument('<operation...>', 'UUIDs')
    .option('--any', 'return when the first one ends')
    .action(
      run(async (cli, options: { any?: boolean }, [uuids]: [readonly string[]]) => {
        const contree = await cli.contree();
        const enough = new AbortController();
        const signal = AbortSignal.any([cli.signal, enough.signal]);
        // The table shows no output; JSON has it.
        const query = cli.json ? {} : { output_bytes: 0 };
        const ends = uuids.map((uuid) => ended(contree, uuid, query, signal));
        const finished = options.any ? [await Promise.race(ends)] : await Promise.all(ends);
        enough.abort();
        await Promise.allSettled(ends);
        const codes = finished.map(operationExitCode);
        await cli.print(finished, () =>
          table(finished.map(({ uuid, status }, index) => [uuid, status, `exit ${codes[index]}`])),
        );
        const [first = 0] = codes;
        if (codes.length === 1) return first;
        return codes.every((code) => code === 0) ? 0 : SOME_FAILED;
      }),
    );
};

async function ended(
  contree: ConTree,
  uuid: string,
  query: OperationGetQuery,
  signal: AbortSignal,
): Promise<OperationResponse> {
  for await (const event of contree.operations.events(uuid, { follow: true, spid: 0 }, signal)) {
    if (event.type === 'completion') break;
  }
  return contree.operations.get(uuid, query, signal);
}

export const cancel: Register = (program, run) => {
  program
    .command('cancel')
    .summary('cancel operations')
    .description('Cancel queued or running operations.')
    .argument('<operation...>', 'UUIDs')
    .action(
      run(async (cli, _options, [uuids]: [readonly string[]]) => {
        const contree = await cli.contree();
        for (const uuid of uuids) await contree.operations.cancel(uuid, cli.signal);
        await cli.print({ cancelled: uuids }, '');
      }),
    );
};
