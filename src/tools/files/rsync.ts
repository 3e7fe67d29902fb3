import { z } from 'zod';
import { limits } from '../../contract/limits.ts';
import { leftOutText } from '../../transfer/left-out.ts';
import { image } from '../support/fields.ts';
import { hiddenFromClients } from '../support/schema.ts';
import { counted, grouped, lines, plainName } from '../support/text.ts';
import { defineTool } from '../support/tool.ts';
import { requireLocalFiles, transferOptions } from '../support/transfers.ts';

const SKIPPED_SHOWN_MAX = 20;

export const rsync = defineTool({
  name: 'rsync',
  title: 'Sync a local directory',
  description:
    'Free. Stores a local directory; run(directory_state_id=…) puts it at destination. Sends only changes; sync again ' +
    'after edits. .git, what git ignores and likely secrets stay out. exclude takes .gitignore patterns; "!.git" brings it.',
  cost: 'free',
  effect: 'ensures',
  openWorld: false,
  local: true,
  input: z.object({
    source: z.string().min(1).max(limits.pathBytesMax).describe('absolute, local'),
    destination: z.string().min(1).max(limits.pathBytesMax),
    exclude: z.array(z.string().max(1_024)).max(1_000).optional(),
    gitignore: z.boolean().optional(),
    mirror: image.optional().describe('image: remove what it has there and source lacks'),
  }),
  output: z.object({
    directory_state_id: z.string(),
    files: hiddenFromClients(z.int().min(0)),
    uploaded: hiddenFromClients(z.int().min(0)),
    bytes: hiddenFromClients(z.int().min(0)),
    skipped: hiddenFromClients(z.array(z.string()).optional()),
    left_out: hiddenFromClients(z.string().optional()),
    removed: hiddenFromClients(z.int().min(1).optional()),
  }),
  handle: async (call, { source, destination, exclude = [], gitignore, mirror }) => {
    const local = requireLocalFiles(call, source);
    const report = await local.sync(
      call.contree,
      { source, destination, exclude, gitignore, mirror },
      transferOptions(call),
    );
    const { directoryState, skipped, files, uploaded, bytes, leftOut, removed } = report;
    const unshown = skipped.length - SKIPPED_SHOWN_MAX;
    return {
      directory_state_id: directoryState,
      files,
      uploaded,
      bytes,
      ...(skipped.length > 0 && {
        skipped: [...skipped.slice(0, SKIPPED_SHOWN_MAX), ...(unshown > 0 ? [`… and ${unshown} more`] : [])],
      }),
      ...(leftOut !== undefined && { left_out: leftOutText(leftOut) }),
      ...(removed > 0 && { removed }),
    };
  },
  text: ({ directory_state_id, files, uploaded, bytes, skipped = [], left_out, removed }) =>
    lines(
      `directory state ${directory_state_id} · ${counted(files, 'file')}, ${grouped(bytes)} bytes · ${grouped(uploaded)} uploaded`,
      left_out !== undefined && `left out: ${plainName(left_out)}`,
      removed !== undefined && `removes ${counted(removed, 'name')} of the image`,
      skipped.length > 0 && `skipped: ${skipped.map(plainName).join(', ')}`,
    ),
});
