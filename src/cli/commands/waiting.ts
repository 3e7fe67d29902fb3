import type { ConTree } from '../../contract/contree.ts';
import { fault, isFault } from '../../contract/errors.ts';
import type { OperationGetQuery, OperationResponse } from '../../contract/operation.ts';
import type { Cli } from '../cli.ts';
import type { Register } from '../command.ts';
import { collectPages, wholeNumber } from '../pages.ts';
import { operationExitCode } from '../terminal/outcome.ts';
import { table } from '../text.ts';
import { ACTIVE } from './operations.ts';

/** Exit code of timeout(1). */
const EXIT_TIMED_OUT = 124;
/** Exit code when some of several operations failed; the code of each is in the JSON. */
const SOME_FAILED = 1;

export const wait: Register = (program, run) => {
  program
    .command('wait')
    .summary('wait until operations end')
    .description(
      'Wait until operations end. For one operation the exit code is that of its command; for several it is 0 when ' +
        'all succeeded, and 124 when the timeout came first. Neither that nor Ctrl-C stops the operations.',
    )
    .argument('[operation...]', 'UUIDs')
    .option('--all', 'all operations that have not ended')
    .option('--any', 'return when the first one ends')
    .option('--timeout <SECONDS>', 'stop waiting after this time')
    .action(
      run(async (cli, options: WaitOptions, [named]: [readonly string[]]) => {
        const contree = await cli.contree();
        const uuids = await operationsOf(cli, named, options);
        const { finished, late } = await waitFor(cli, uuids, options);
        const codes = finished.map(operationExitCode);
        const unfinished = late ? await Promise.all(uuids.map((uuid) => state(contree, uuid, cli.signal))) : [];
        const open = unfinished.filter(({ uuid }) => !finished.some((other) => other.uuid === uuid));
        await cli.print([...finished, ...open], () =>
          table([
            ...finished.map(({ uuid, status }, index) => [uuid, status, `exit ${codes[index]}`]),
            ...open.map(({ uuid, status }) => [uuid, status, 'still waited for']),
          ]),
        );
        if (late) return EXIT_TIMED_OUT;
        const [first = 0] = codes;
        if (codes.length === 1) return first;
        return codes.every((code) => code === 0) ? 0 : SOME_FAILED;
      }),
    );
};

interface WaitOptions {
  readonly all?: boolean;
  readonly any?: boolean;
  readonly timeout?: string;
}

/** Returns the operations that a line names: by their UUIDs, or with `--all` those that have not ended. */
async function operationsOf(
  cli: Cli,
  named: readonly string[],
  { all = false }: { readonly all?: boolean },
): Promise<readonly string[]> {
  if (all !== (named.length === 0)) throw fault('ARGUMENT_INVALID', { reason: 'name operations, or give --all' });
  if (!all) return named;
  const { operations } = await cli.contree();
  const lists = await Promise.all(
    ACTIVE.map((status) => collectPages((page) => operations.list({ status, ...page }, cli.signal), undefined, true)),
  );
  return lists.flat().map(({ uuid }) => uuid);
}

/** Returns the operations that have ended, and whether the timeout came before the others did. */
async function waitFor(
  cli: Cli,
  uuids: readonly string[],
  { any = false, timeout }: WaitOptions,
): Promise<{ readonly finished: readonly OperationResponse[]; readonly late: boolean }> {
  const contree = await cli.contree();
  const [enough, finished] = [new AbortController(), [] as OperationResponse[]];
  const timer = timeout === undefined ? undefined : AbortSignal.timeout(wholeNumber(timeout, '--timeout') * 1_000);
  const signal = AbortSignal.any([cli.signal, enough.signal, ...(timer === undefined ? [] : [timer])]);
  // The table shows no output; JSON has it.
  const query = cli.json ? {} : { output_bytes: 0 };
  const ends = uuids.map(async (uuid) => void finished.push(await ended(contree, uuid, query, signal)));
  try {
    await (any ? Promise.race(ends) : Promise.all(ends));
  } catch (error) {
    if (timer?.aborted !== true || cli.interrupted) throw error;
  } finally {
    enough.abort();
    await Promise.allSettled(ends);
  }
  const late = any ? finished.length === 0 && uuids.length > 0 : finished.length < uuids.length;
  const ordered = uuids.flatMap((uuid) => finished.find((operation) => operation.uuid === uuid) ?? []);
  return { finished: any ? finished.slice(0, 1) : ordered, late };
}

function state(contree: ConTree, uuid: string, signal: AbortSignal): Promise<OperationResponse> {
  return contree.operations.get(uuid, { output_bytes: 0 }, signal);
}

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
    .argument('[operation...]', 'UUIDs')
    .option('--all', 'all operations that have not ended')
    .action(
      run(async (cli, options: { all?: boolean }, [named]: [readonly string[]]) => {
        const contree = await cli.contree();
        const cancelled: string[] = [];
        for (const uuid of await operationsOf(cli, named, options)) {
          try {
            await contree.operations.cancel(uuid, cli.signal);
            cancelled.push(uuid);
          } catch (error) {
            // Of all operations some end in the meantime.
            if (options.all !== true || !isFault(error, 'OPERATION_FINISHED')) throw error;
          }
        }
        await cli.print({ cancelled }, '');
      }),
    );
};
