import { z } from 'zod';
import { DiffEntry } from '../../contract/inspect.ts';
import { limits } from '../../contract/limits.ts';
import { count, hint, image, imagePath, imageUuid, pageSize } from '../support/fields.ts';
import { pageOf } from '../support/page.ts';
import { hiddenFromClients } from '../support/schema.ts';
import { counted, lines, octal, plainName } from '../support/text.ts';
import { defineTool } from '../support/tool.ts';
import { present } from '../../std/present.ts';

const SIGNS = { added: '+', removed: '-', modified: 'M', metadata: 'm' } as const;

export const diff = defineTool({
  name: 'diff',
  title: 'Compare two images',
  description: 'Free: what changed between two images. patch=true adds diffs of small text files.',
  cost: 'free',
  effect: 'reads',
  openWorld: false,
  aliases: { from: 'from_image', to: 'to_image' },
  input: z.object({
    from_image: image,
    to_image: image,
    path: imagePath.optional().describe('only below this'),
    patch: z.boolean().default(false),
    limit: pageSize(limits.pageMax).default(200),
  }),
  output: z.object({
    entries: z.array(
      z.object({
        path: z.string(),
        change: DiffEntry.shape.change,
        type: hiddenFromClients(z.string().optional()),
        size: hiddenFromClients(count.optional()),
        size_before: hiddenFromClients(count.optional()),
        mode: hiddenFromClients(z.string().optional()),
        mode_before: hiddenFromClients(z.string().optional()),
        owner: hiddenFromClients(z.string().optional()),
        owner_before: hiddenFromClients(z.string().optional()),
        patch: hiddenFromClients(z.string().optional()),
      }),
    ),
    added: hiddenFromClients(count.optional()),
    removed: hiddenFromClients(count.optional()),
    modified: hiddenFromClients(count.optional()),
    truncated: hiddenFromClients(z.boolean().optional()),
    from_uuid: imageUuid,
    to_uuid: imageUuid,
    hint,
  }),
  handle: async ({ contree, signal }, { from_image, to_image, path, patch, limit }) => {
    const query = present({ patch, limit, path });
    const { from, to, entries, truncated, ...totals } = await contree.images.diff(
      from_image,
      { to: to_image, ...query },
      signal,
    );
    const { items, nextOffset } = pageOf(entries.map(entryOf), { more: truncated });
    const cut = nextOffset !== undefined;
    return {
      entries: [...items],
      ...(cut && { ...totals, truncated: cut, hint: 'There are more changes; give a path to look below it.' }),
      ...(from !== from_image && { from_uuid: from }),
      ...(to !== to_image && { to_uuid: to }),
    };
  },
  text: ({ entries, added, removed, modified, truncated, hint }) =>
    lines(
      truncated
        ? `${added} added, ${removed} removed, ${modified} modified (not all shown)`
        : counted(entries.length, 'change'),
      ...entries.map((entry) =>
        lines(`${SIGNS[entry.change]} ${plainName(entry.path)}${detailOf(entry)}`, entry.patch),
      ),
      hint && `Next: ${hint}`,
    ),
});

type Shown = {
  size?: number;
  size_before?: number;
  mode?: string;
  mode_before?: string;
  owner?: string;
  owner_before?: string;
};

function entryOf(entry: DiffEntry): {
  path: string;
  change: DiffEntry['change'];
  type?: string;
  patch?: string;
} & Shown {
  const { path, change, type, size, size_before, mode, mode_before, owner, owner_before, patch } = entry;
  const modeChanged = mode !== mode_before && mode !== null && mode_before !== null;
  const sizes = type === 'file' ? present({ size: size ?? undefined, size_before: size_before ?? undefined }) : {};
  const modes = modeChanged ? { mode: octal(mode), mode_before: octal(mode_before) } : {};
  const owners = owner && owner_before && owner !== owner_before ? { owner, owner_before } : {};
  return { path, change, ...(type !== 'file' && { type }), ...sizes, ...modes, ...owners, ...present({ patch }) };
}

function detailOf(shown: { [Key in keyof Shown]?: Shown[Key] | undefined }): string {
  const { size, size_before, mode, mode_before, owner, owner_before } = shown;
  const parts = [
    size !== undefined && size_before !== undefined && size !== size_before && `${size_before} → ${size} bytes`,
    mode !== undefined && `mode ${mode_before} → ${mode}`,
    owner !== undefined && `owner ${owner_before} → ${owner}`,
  ].filter((part) => typeof part === 'string');
  return parts.length === 0 ? '' : ` (${parts.join(', ')})`;
}
