import { fault } from '../../contract/errors.ts';
import { imageReference } from '../cli.ts';
import type { Register } from '../command.ts';

export const tag: Register = (program, run) => {
  program
    .command('tag')
    .summary('tag an image or remove a tag')
    .description('Point a tag at an image, moving it if it exists; or remove a tag.')
    .argument('<image>', 'tag or UUID')
    .argument('[tag]', 'for example common/python-ml/python:3.11-slim')
    .option('-d, --delete', 'remove the tag (default: the tag that the image shows)')
    .action(
      run(async (cli, options: { delete?: boolean }, [source, name]: [string, string?]) => {
        const contree = await cli.contree();
        const image = imageReference(source);
        if (options.delete) {
          // "contree tag --delete NAME" names the tag itself.
          const own = name === undefined && image.startsWith('tag:') ? image.slice('tag:'.length) : name;
          await contree.tags.remove(image, { tag: own }, cli.signal);
          return;
        }
        if (name === undefined) throw fault('ARGUMENT_INVALID', { reason: 'a tag is required' });
        const tagged = await contree.tags.set(image, { tag: name }, cli.signal);
        await cli.print(tagged, `${tagged.uuid}\n`);
      }),
    );
};

export const rm: Register = (program, run) => {
  program
    .command('rm')
    .summary('delete images')
    .description('Delete images. An image that others were made from is deleted only with --cascade.')
    .argument('<image...>', 'tags or UUIDs')
    .option('--cascade', 'also delete the images made from them')
    .action(
      run(async (cli, options: { cascade?: boolean }, [sources]: [readonly string[]]) => {
        const contree = await cli.contree();
        const gone: string[] = [];
        const cascade = options.cascade ?? false;
        for (const source of sources)
          gone.push(...(await contree.images.delete(imageReference(source), { cascade }, cli.signal)));
        await cli.print({ deleted: gone }, gone.map((uuid) => `${uuid}\n`).join(''));
      }),
    );
};
