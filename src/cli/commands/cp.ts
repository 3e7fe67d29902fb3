import { existsSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fault } from '../../contract/errors.ts';
import { parseImagePath } from '../cli.ts';
import type { Register } from '../command.ts';
import { writeWholeFile } from '../transfer/whole-file.ts';

const EXECUTABLE = 0o111;

export const cp: Register = (program, run) => {
  program
    .command('cp')
    .summary('copy a file or a folder out of an image')
    .description('Copy a file out of an image. A folder is written as a tar. "-" is standard output.')
    .argument('<source>', 'IMAGE:/PATH')
    .argument('[destination]', 'file, or folder to place it in', '.')
    .action(
      run(async (cli, _options, [source, destination]: [string, string]) => {
        if (!/:\//u.test(source))
          throw fault('ARGUMENT_INVALID', { reason: 'the source must have the form IMAGE:/PATH' });
        const { image, path } = parseImagePath(source, undefined);
        const contree = await cli.contree();
        const item = await contree.files.stat(image, { path }, cli.signal);
        const name = basename(path) || 'root';
        const content = item.is_dir
          ? { body: await contree.files.archive(image, { path }, cli.signal) }
          : await contree.files.read(image, { path }, cli.signal);
        if (destination === '-') {
          for await (const chunk of content.body) await cli.write(chunk);
          return;
        }
        // The mode of a link says nothing about its target.
        const executable = item.is_regular && (item.mode & EXECUTABLE) !== 0;
        const target = await targetOf(destination, item.is_dir ? `${name}.tar` : name);
        if (item.is_dir && !target.endsWith('.tar') && existsSync(target)) {
          const reason = `${target} exists, and a folder is written as a tar: name a file that ends in .tar, or a folder`;
          throw fault('ARGUMENT_INVALID', { reason });
        }
        await writeWholeFile(target, { ...content, executable }, cli.signal);
      }),
    );
};

async function targetOf(destination: string, name: string): Promise<string> {
  const info = await stat(destination).catch(() => undefined);
  return info?.isDirectory() ? join(destination, name) : destination;
}
