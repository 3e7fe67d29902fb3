import { z } from 'zod';
import type { FileItem } from '../../contract/inspect.ts';
import { count, hint, image, imagePath, offset } from '../support/fields.ts';
import { pageOf } from '../support/page.ts';
import { hiddenFromClients } from '../support/schema.ts';
import { counted, grouped, lines, octal, plainName } from '../support/text.ts';
import { defineTool } from '../support/tool.ts';
import { present } from '../../std/present.ts';

const Item = z.object({
  name: z.string(),
  path: hiddenFromClients(z.string()),
  type: z.enum(['file', 'directory', 'symlink', 'socket', 'fifo', 'device']),
  size: count,
  mode: hiddenFromClients(z.string()),
  mtime: hiddenFromClients(z.string().optional()),
  target: hiddenFromClients(z.string().optional()),
});

export const listFiles = defineTool({
  name: 'list_files',
  title: 'List a directory',
  description: 'Free and instant, without a VM; use it instead of run("ls").',
  cost: 'free',
  effect: 'reads',
  openWorld: false,
  input: z.object({
    image,
    path: imagePath.default('/'),
    offset,
    limit: z.int().min(1).max(1_000).default(200),
  }),
  output: z.object({
    image_uuid: hiddenFromClients(z.string()),
    path: hiddenFromClients(z.string()),
    files: z.array(Item),
    count,
    next_offset: count.optional(),
    hint,
  }),
  handle: async ({ contree, signal }, { image, path, offset, limit }) => {
    // A tag may move between two calls: resolve it once.
    const { uuid } = await contree.images.get(image, signal);
    const { files, total } = await contree.files.list(uuid, { path, offset, limit }, signal);
    // The hosted service answers with all entries.
    const slice = total === undefined ? files.slice(offset, offset + limit) : files;
    const count = total ?? files.length;
    const { items, nextOffset } = pageOf(
      slice.map((file) => itemOf(path, file)),
      { offset, more: offset + limit < count },
    );
    return {
      image_uuid: uuid,
      path,
      files: [...items],
      count,
      ...present({ next_offset: nextOffset }),
    };
  },
  text: ({ path, files, count, next_offset, hint }) =>
    lines(
      `${plainName(path)}: ${counted(count, 'entry', 'entries')}${next_offset === undefined ? '' : `; more from offset=${next_offset}`}`,
      ...files.map(
        ({ type, mode, size, name, target }) =>
          `${mode} ${type.padEnd(9)} ${grouped(size).padStart(13)}  ${plainName(name)}${target === undefined ? '' : ` -> ${plainName(target)}`}`,
      ),
      hint && `Next: ${hint}`,
    ),
});

function itemOf(directory: string, file: FileItem): z.infer<typeof Item> {
  return {
    name: file.path,
    path: `${directory.replace(/\/+$/u, '')}/${file.path}`,
    type: typeOf(file),
    size: file.size,
    mode: octal(file.mode),
    mtime: new Date(file.mtime * 1_000).toISOString().slice(0, 19),
    ...(file.is_symlink && { target: file.symlink_to }),
  };
}

function typeOf(file: FileItem): z.infer<typeof Item>['type'] {
  if (file.is_dir) return 'directory';
  if (file.is_regular) return 'file';
  if (file.is_symlink) return 'symlink';
  if (file.is_socket) return 'socket';
  return file.is_fifo ? 'fifo' : 'device';
}
