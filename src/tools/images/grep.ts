import { z } from 'zod';
import { limits } from '../../contract/limits.ts';
import type { GrepMatch } from '../../contract/inspect.ts';
import { count, hint, image, imageUuid, pageSize } from '../support/fields.ts';
import { pageOf } from '../support/page.ts';
import { hiddenFromClients } from '../support/schema.ts';
import { counted, lines, plainLine, plainName } from '../support/text.ts';
import { defineTool } from '../support/tool.ts';
import { present } from '../../std/present.ts';

const LINE_CHARACTERS_MAX = 500;

export const grep = defineTool({
  name: 'grep',
  title: 'Search files',
  description:
    'Free: searches an image like ripgrep (no look-around; hidden files included, binary ones skipped). One call replaces ' +
    'many read_file calls.',
  cost: 'free',
  effect: 'reads',
  openWorld: false,
  aliases: { pattern: 'patterns', path: 'paths', glob: 'globs' },
  input: z.object({
    image,
    patterns: z
      .array(z.string().max(limits.grepPatternCharactersMax))
      .min(1)
      .max(limits.grepPatternsMax)
      .describe('regexes, OR-ed'),
    paths: z.array(z.string().min(1).max(limits.pathBytesMax)).max(limits.grepPathsMax).optional(),
    globs: z.array(z.string()).max(50).optional().describe('*.py; !*.js excludes'),
    case: z.enum(['sensitive', 'insensitive', 'smart']).default('sensitive'),
    context: z.int().min(0).max(20).default(0).describe('lines around'),
    max_count: hiddenFromClients(z.int().min(1).max(limits.grepMatchesMax).optional()),
    max_total: pageSize(limits.grepMatchesDefault).default(200),
  }),
  output: z.object({
    matches: z.array(
      z.object({ path: z.string(), line: count, text: z.string(), context: hiddenFromClients(z.boolean().optional()) }),
    ),
    truncated: hiddenFromClients(z.boolean().optional()),
    image_uuid: imageUuid,
    hint,
  }),
  handle: async (
    { contree, signal },
    { image, patterns, paths, globs, context, max_count, max_total, case: letters },
  ) => {
    const { uuid } = await contree.images.get(image, signal);
    const found = await contree.files.grep(
      uuid,
      {
        pattern: patterns,
        case: letters,
        max_total,
        ...present({ path: paths, glob: globs, max_count }),
        ...(context > 0 && { before: context, after: context }),
      },
      signal,
    );
    const { items } = pageOf(found.matches.map(itemOf));
    const truncated = found.truncated || items.length < found.matches.length;
    return {
      matches: [...items],
      ...(image !== uuid && { image_uuid: uuid }),
      ...(truncated && { truncated, hint: 'There are more matches; narrow the search with paths or globs.' }),
    };
  },
  text: ({ matches, truncated, hint }) =>
    lines(
      `${counted(matches.filter(({ context }) => context !== true).length, 'match', 'matches')}${truncated ? ' (more exist)' : ''}`,
      ...matches.map(
        ({ path, line, text, context }) =>
          `${plainName(path)}${context ? '-' : ':'}${line}${context ? '-' : ':'}${plainLine(text)}`,
      ),
      hint && `Next: ${hint}`,
    ),
});

function itemOf({ path, line_number, line_text, type }: GrepMatch): {
  path: string;
  line: number;
  text: string;
  context?: boolean;
} {
  const text = line_text.replace(/\r?\n$/u, '');
  const shown = text.length > LINE_CHARACTERS_MAX ? `${text.slice(0, LINE_CHARACTERS_MAX)}…` : text;
  return { path, line: line_number, text: shown, ...(type === 'context' && { context: true }) };
}
