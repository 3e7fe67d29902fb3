import type { ConTree } from '../../contract/contree.ts';
import type { Lineage, LineageNode } from '../../contract/image.ts';
import { imageReference, type Cli } from '../cli.ts';
import type { Register } from '../command.ts';
import { collectPages, wholeNumber } from '../pages.ts';
import { formatBytes } from '../text.ts';

interface Family extends LineageNode {
  readonly children: readonly Family[];
}

export const tree: Register = (program, run) => {
  program
    .command('tree')
    .summary('show the lineage of images')
    .description('Show the lineage of an image, starting at its root, or of all images.')
    .argument('[image]', 'tag or UUID')
    .option('-n, --limit <COUNT>', 'maximum number of images', '500')
    .action(
      run(async (cli, { limit }: { limit: string }, [source]: [string?]) => {
        const contree = await cli.contree();
        const walk = new Walk(contree, wholeNumber(limit, '--limit'), cli.signal);
        const marked =
          source === undefined ? undefined : await contree.images.lineage(imageReference(source), cli.signal);
        const roots = marked === undefined ? await rootsOf(contree, limit, cli.signal) : [marked.root];
        const families: Family[] = [];
        for (const root of roots) families.push(await walk.family(root));
        await cli.print(source === undefined ? families : families[0], () =>
          families.map((family) => draw(cli, family, marked?.image.uuid)).join(''),
        );
        if (walk.cut) cli.note(`only ${limit} images are shown; raise --limit to see more`);
      }),
    );
};

async function rootsOf(contree: ConTree, limit: string, signal: AbortSignal): Promise<string[]> {
  const images = await collectPages((page) => contree.images.list(page, signal), limit);
  return images.filter((image) => !image.parent_uuid).map(({ uuid }) => uuid);
}

/** Reads the trees of images one image at a time, up to a total number of images. */
class Walk {
  readonly #contree: ConTree;
  readonly #signal: AbortSignal;
  #left: number;
  cut = false;

  constructor(contree: ConTree, limit: number, signal: AbortSignal) {
    this.#contree = contree;
    this.#left = limit;
    this.#signal = signal;
  }

  async family(uuid: string): Promise<Family> {
    this.#left -= 1;
    const lineage: Lineage = await this.#contree.images.lineage(uuid, this.#signal);
    const children: Family[] = [];
    for (const child of lineage.children) {
      this.cut ||= this.#left <= 0;
      if (this.#left > 0) children.push(await this.family(child.uuid));
    }
    return { ...lineage.image, children };
  }
}

function draw(cli: Cli, family: Family, marked: string | undefined): string {
  const lines: string[] = [];
  const visit = (node: Family, first: string, rest: string): void => {
    lines.push(`${first}${label(cli, node)}${node.uuid === marked ? '  ◀' : ''}\n`);
    for (const [index, child] of node.children.entries()) {
      const last = index === node.children.length - 1;
      visit(child, `${rest}${last ? '└─ ' : '├─ '}`, `${rest}${last ? '   ' : '│  '}`);
    }
  };
  visit(family, '', '');
  return lines.join('');
}

const COMMAND_CHARACTERS_MAX = 60;

function label(cli: Cli, node: LineageNode): string {
  const command = node.command ?? '';
  const short = command.length > COMMAND_CHARACTERS_MAX ? `${command.slice(0, COMMAND_CHARACTERS_MAX - 1)}…` : command;
  const failed = node.exit_code ? `exit ${node.exit_code}` : '';
  const size = node.layer_bytes === null ? '' : `+${formatBytes(node.layer_bytes)}`;
  const facts = [node.tags.join(' '), cli.name(short), failed, size].filter((fact) => fact !== '');
  return [node.uuid, ...facts].join('  ');
}
