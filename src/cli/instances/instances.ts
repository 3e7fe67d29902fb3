import type { InstanceSummary } from '../../contract/instance.ts';
import { fault } from '../../contract/errors.ts';
import { present } from '../../std/present.ts';
import type { Register } from '../command.ts';
import { collectPages } from '../pages.ts';
import { failureOf } from '../terminal/outcome.ts';
import { formatAge, table } from '../text.ts';
import { closeInstance, instanceNamed, portLine, portNumbers } from './instance.ts';

interface ListOptions {
  readonly all?: boolean;
  readonly limit?: string;
  readonly quiet?: boolean;
}

export const instances: Register = (program, run) => {
  program
    .command('instances')
    .summary('list open instances')
    .description('List open instances, newest first.')
    .option('-a, --all', 'also those that have ended')
    .option('-n, --limit <COUNT>', 'maximum number of instances', '100')
    .option('-q, --quiet', 'print their UUIDs only')
    .action(
      run(async (cli, options: ListOptions) => {
        const contree = await cli.contree();
        const wanted = options.all ? { all: true } : {};
        const found = await collectPages(
          (page) => contree.instances.list({ ...wanted, ...page }, cli.signal),
          options.limit,
        );
        await cli.print(found, () =>
          options.quiet
            ? found.map(({ uuid }) => `${uuid}\n`).join('')
            : table([['INSTANCE', 'STATUS', 'IMAGE', 'USED', 'PROCESSES', 'SNAPSHOTS', 'PORTS'], ...found.map(row)]),
        );
      }),
    );
};

function row({ uuid, status, image, last_used_at, processes, snapshots, ports }: InstanceSummary): readonly string[] {
  const published = ports.map(({ port, host_port }) => `${port}:${host_port}`).join(' ');
  return [uuid, status, image, formatAge(last_used_at), String(processes), String(snapshots), published || '-'];
}

export const snapshot: Register = (program, run) => {
  program
    .command('snapshot')
    .summary('make an image of an open instance')
    .description('Make an image of the files of an open instance, which goes on. Prints the UUID of the image.')
    .argument('<instance>', 'UUID, or its beginning')
    .option('--tag <TAG>', 'tag of the image')
    .action(
      run(async (cli, { tag }: { readonly tag?: string }, [name]: [string]) => {
        const contree = await cli.contree();
        const instance = await instanceNamed(contree, name, cli.signal);
        const made = await contree.instances.snapshot(instance, present({ tag }), cli.signal);
        if (!made.changed) cli.note('nothing has changed since the last one');
        await cli.print(made, `${made.image}\n`);
      }),
    );
};

interface CloseOptions {
  readonly discard?: boolean;
  readonly tag?: string;
}

export const close: Register = (program, run) => {
  program
    .command('close')
    .summary('close an instance')
    .description(
      'Close an instance. Its processes are killed; its changes become an image, whose UUID is printed, unless it is ' +
        'disposable or --discard is given.',
    )
    .argument('<instance...>', 'UUIDs, or their beginnings')
    .option('--discard', 'keep nothing of what was changed since the last snapshot')
    .option('--tag <TAG>', 'tag of the image')
    .action(
      run(async (cli, { discard, tag }: CloseOptions, [names]: [readonly string[]]) => {
        if (discard && tag !== undefined) {
          throw fault('ARGUMENT_INVALID', { reason: '--discard keeps no image; leave out --tag' });
        }
        const contree = await cli.contree();
        const request = present({ keep: discard ? false : undefined, tag });
        const closed: { instance: string; image: string | null }[] = [];
        for (const name of names) {
          const instance = await instanceNamed(contree, name, cli.signal);
          const operation = await closeInstance(contree, instance, request, cli.signal);
          if (operation.status !== 'SUCCESS') throw failureOf(operation);
          closed.push({ instance, image: operation.result_image_uuid });
        }
        await cli.print(closed, closed.map(({ image }) => (image === null ? '' : `${image}\n`)).join(''));
      }),
    );
};

export const expose: Register = (program, run) => {
  program
    .command('expose')
    .summary('publish a port of an open instance')
    .description('Make a port of an open instance reachable on this machine, and print its addresses.')
    .argument('<instance>', 'UUID, or its beginning')
    .argument('<port>', 'PORT, or PORT:HOSTPORT')
    .option('--remove', 'stop publishing it')
    .action(
      run(async (cli, { remove }: { readonly remove?: boolean }, [name, text]: [string, string]) => {
        const contree = await cli.contree();
        const wanted = portNumbers(text);
        const instance = await instanceNamed(contree, name, cli.signal);
        if (remove) {
          await contree.instances.unpublish(instance, wanted.port, cli.signal);
          return await cli.print({ instance, port: wanted.port }, '');
        }
        const port = await contree.instances.publish(instance, wanted, cli.signal);
        await cli.print(port, `${portLine(port)}\n`);
      }),
    );
};
