import type { LineageNode } from '../../contract/image.ts';
import { fault } from '../../contract/errors.ts';
import { imageReference, type Cli } from '../cli.ts';
import type { Register } from '../command.ts';
import { formatAge, formatBytes, table } from '../text.ts';
import { writeBuildFolder } from './build-folder.ts';

interface Options {
  readonly dockerfile?: boolean;
  readonly output?: string;
}

/** Exit code where the Dockerfile does not say everything that made the image. */
const EXIT_INCOMPLETE = 1;
const COMMAND_CHARACTERS_MAX = 60;

export const history: Register = (program, run) => {
  program
    .command('history')
    .summary('show how an image was made')
    .description(
      'Show the commands that made an image, newest first. With --dockerfile, write them as a Dockerfile with the files that it ' +
        'needs; what it cannot say is a comment in it, and the exit code is then 1.',
    )
    .argument('<image>', 'tag or UUID')
    .option('--dockerfile', 'write a folder with a Dockerfile that builds the same image')
    .option('-o, --output <DIR>', 'folder to make for --dockerfile')
    .action(
      run(async (cli, options: Options, [image]: [string]) => {
        if ((options.dockerfile === true) !== (options.output !== undefined)) {
          throw fault('ARGUMENT_INVALID', { reason: '--dockerfile and --output DIR belong together' });
        }
        const contree = await cli.contree();
        const { image: last, ancestors } = await contree.images.lineage(imageReference(image), cli.signal);
        const nodes = [last, ...ancestors];
        if (options.output === undefined) return await cli.print(nodes, () => shownHistory(cli, nodes));
        const { path, missing } = await writeBuildFolder(
          { contree, signal: cli.signal },
          nodes.toReversed(),
          options.output,
        );
        await cli.print({ dockerfile: path, missing }, `${path}\n`);
        for (const line of missing) cli.host.stderr.write(`not in the Dockerfile: ${line}\n`);
        return missing.length > 0 ? EXIT_INCOMPLETE : 0;
      }),
    );
};

function shownHistory(cli: Cli, nodes: readonly LineageNode[]): string {
  const rows = nodes.map((node) => [
    formatAge(node.created_at),
    node.layer_bytes === null ? '' : formatBytes(node.layer_bytes),
    node.exit_code === null ? '' : String(node.exit_code),
    node.uuid,
    [shortened(cli.name(node.command ?? '')), ...node.tags.map((tag) => `tag:${tag}`)].join('  '),
  ]);
  return table([['MADE', 'SIZE', 'EXIT', 'IMAGE', 'COMMAND'], ...rows], [1, 2]);
}

function shortened(text: string): string {
  return text.length > COMMAND_CHARACTERS_MAX ? `${text.slice(0, COMMAND_CHARACTERS_MAX - 1)}…` : text;
}
