import { present } from '../../std/present.ts';
import type { Register } from '../command.ts';
import { formatAge, table } from '../text.ts';
import { collectPages } from '../pages.ts';

interface Options {
  readonly prefix?: string;
  readonly tagged?: boolean;
  readonly limit?: string;
}

export const images: Register = (program, run) => {
  program
    .command('images')
    .summary('list images')
    .description('List images, newest first.')
    .option('-p, --prefix <TAG>', 'only tags with this prefix')
    .option('-t, --tagged', 'only tagged images')
    .option('-n, --limit <COUNT>', 'maximum number of images', '100')
    .action(
      run(async (cli, { prefix, tagged, limit }: Options) => {
        const contree = await cli.contree();
        const byTag = prefix !== undefined || tagged === true;
        const query = { ...present({ tag: prefix }), ...(tagged && { tagged }) };
        const found = await collectPages((page) => contree.images.list({ ...query, ...page }, cli.signal), limit);
        await cli.print(found, () => {
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
};
