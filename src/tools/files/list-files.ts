import { z } from 'zod';
import type { FileItem } from '../../contract/inspect.ts';
import { count, hint, image, imagePath, imageUuid, offset, pageSize } from '../support/fields.ts';
import { pageOf } from '../support/page.ts';
import { hiddenFromClients } from '../support/schema.ts';
import { counted, grouped, lines, octal, plainName } from '../support/text.ts';
import { defineTool } from '../support/tool.ts';

type Type = 'file' | 'directory' | 'symlink' | 'socket' | 'fifo' | 'device';

/** Entry without what is usual: no `type` is a regular file, no `mode` that of `USUAL_MODES`; only files have a size. */
const Item = z.object({
  name: z.string(),
  type: z.enum(['directory', 'symlink', 'socket', 'fifo', 'device']).optional(),
  size: count.optional(),
  mode: hiddenFromClients(z.string().optional()),
  target: hiddenFromClients(z.string().optional()),
});

const USUAL_MODES: Readonly<Partial<Record<string, string>>> = { file: '0644', directory: '0755', symlink: '0777' };

export const listFiles = defineTool({
  name: 'list_files',
  title: 'List a directory',
  description: 'Free and instant; use it instead of run("ls").',
  cost: 'free',
  effect: 'reads',
  openWorld: false,
  input: z.object({
    image,
    path: imagePath.default('/'),
    offset,
    limit: pageSize(1_000).default(200),
  }),
  output: z.object({
    files: z.array(Item),
    count: hiddenFromClients(count.optional()),
    next_offset: hiddenFromClients(count.optional()),
    image_uuid: imageUuid,
    hint,
  }),
  handle: async ({ contree, signal }, { image, path, offset, limit }) => {
    // A tag may move between two calls: resolve it once.
    const { uuid } = await contree.images.get(image, signal);
    const { files, total } = await contree.files.list(uuid, { path, offset, limit }, signal);
    // The hosted service answers with all entries.
    const slice = total === undefined ? files.slice(offset, offset + limit) : files;
    const count = total ?? files.length;
    const { items, nextOffset } = pageOf(slice.map(itemOf), { offset, more: offset + limit < count });
    return {
      files: [...items],
      ...(nextOffset !== undefined && { count, next_offset: nextOffset }),
      ...(image !== uuid && { image_uuid: uuid }),
    };
  },
  text: ({ files, count = files.length, next_offset, hint }, { path }) =>
    lines(
      `${plainName(path)}: ${counted(count, 'entry', 'entries')}${next_offset === undefined ? '' : `; more from offset=${next_offset}`}`,
      ...files.map(
        ({ type = 'file', mode = USUAL_MODES[type] ?? '-', size = 0, name, target }) =>
          `${mode} ${type.padEnd(9)} ${grouped(size).padStart(13)}  ${plainName(name)}${target === undefined ? '' : ` -> ${plainName(target)}`}`,
      ),
      hint && `Next: ${hint}`,
    ),
});

function itemOf(file: FileItem): z.infer<typeof Item> {
  const type = typeOf(file);
  const mode = octal(file.mode);
  return {
    name: file.path,
    ...(type === 'file' ? { size: file.size } : { type }),
    ...(mode !== USUAL_MODES[type] && { mode }),
    ...(file.is_symlink && { target: file.symlink_to }),
  };
}

function typeOf(file: FileItem): Type {
  if (file.is_dir) return 'directory';
  if (file.is_regular) return 'file';
  if (file.is_symlink) return 'symlink';
  if (file.is_socket) return 'socket';
  return file.is_fifo ? 'fifo' : 'device';
}
