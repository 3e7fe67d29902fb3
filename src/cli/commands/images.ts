import { present } from '../../std/present.ts';
import type { Register } from '../command.ts';
import { formatAge, table } from '../text.ts';
import { addPeriodOptions, collectPages, periodOf, type PeriodOptions } from '../pages.ts';

interface Options extends PeriodOptions {
  readonly prefix?: string;
  readonly tagged?: boolean;
  readonly limit?: string;
  readonly all?: boolean;
  readonly quiet?: boolean;
}

export const images: Register = (program, run) => {
  const command = program
    .command('images')
    .summary('list images')
    .description('List images, newest first.')
    .option('-p, --prefix <TAG>', 'only tags with this prefix')
    .option('-t, --tagged', 'only tagged images')
    .option('-n, --limit <COUNT>', 'maximum number of images', '100')
    .option('-a, --all', 'all of them, whatever the limit')
    .option('-q, --quiet', 'print their UUIDs only')
    .action(
      run(async (cli, { prefix, tagged, limit, all, quiet, ...period }: Options) => {
        const contree = await cli.contree();
        const byTag = prefix !== undefined || tagged === true;
        const query = { ...present({ tag: prefix }), ...(tagged && { tagged }), ...(await periodOf(period)) };
        const found = await collectPages((page) => contree.images.list({ ...query, ...page }, cli.signal), limit, all);
        await cli.print(found, () => {
          if (quiet) return found.map(({ uuid }) => `${uuid}\n`).join('');
          if (found.length === 0) return 'no images; import one with "contree import python:3.11-slim"\n';
          const rows = found.map((image) => [
            // A list by tag has an entry for each of them.
            cli.name(byTag ? (image.tag ?? '') : (image.tags ?? []).join(' ')) || '-',
            image.uuid,
            formatAge(image.created_at),
          ]);
          return table([['TAG', 'IMAGE', 'CREATED'], ...rows]);
        });
      }),
    );
  addPeriodOptions(command);
};
