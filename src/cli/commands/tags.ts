import { fault } from '../../contract/errors.ts';
import { imageReference } from '../cli.ts';
import type { Register } from '../command.ts';

export const tag: Register = (program, run) => {
  program
    .command('tag')
    .summary('name an image, or take a name away')
    .description('Point a tag at an image, wherever it pointed before; or remove a tag.')
    .argument('<image>', 'tag or UUID')
    .argument('[tag]', 'for example common/python-ml/python:3.11-slim')
    .option('-d, --delete', 'remove the tag; without a tag, the one the image shows')
    .action(
      run(async (cli, options: { delete?: boolean }, [source, name]: [string, string?]) => {
        const contree = await cli.contree();
        const image = imageReference(source);
        if (options.delete) {
          // "contree tag --delete NAME" names the tag itself.
          const own = name === undefined && image.startsWith('tag:') ? image.slice('tag:'.length) : name;
          await contree.removeTag(image, own, cli.signal);
          return;
        }
        if (name === undefined) throw fault('ARGUMENT_INVALID', { reason: 'a tag is needed' });
        const tagged = await contree.setTag(image, name, cli.signal);
        await cli.print(tagged, `${tagged.uuid}\n`);
      }),
    );
};

export const rm: Register = (program, run) => {
  program
    .command('rm')
    .summary('delete images')
    .description('Delete images. One that others were made from is kept, unless they go with it.')
    .argument('<image...>', 'tags or UUIDs')
    .option('--cascade', 'also the images made from them')
    .action(
      run(async (cli, options: { cascade?: boolean }, [sources]: [readonly string[]]) => {
        const contree = await cli.contree();
        const gone: string[] = [];
        const cascade = options.cascade ?? false;
        for (const source of sources)
          gone.push(...(await contree.deleteImage(imageReference(source), { cascade }, cli.signal)));
        await cli.print({ deleted: gone }, gone.map((uuid) => `${uuid}\n`).join(''));
      }),
    );
};
