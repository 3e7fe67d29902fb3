import { z } from 'zod';
import { limits } from '../../contract/limits.ts';
import { image, imagePath } from '../support/fields.ts';
import { hiddenFromClients } from '../support/schema.ts';
import { grouped, plainName } from '../support/text.ts';
import { defineTool } from '../support/tool.ts';
import { requireLocalFiles, transferOptions } from '../support/transfers.ts';

export const download = defineTool({
  name: 'download',
  title: 'Download a file',
  description: 'Free: copies one file of an image to this machine. To look at it use read_file.',
  cost: 'free',
  effect: 'replaces',
  openWorld: false,
  local: true,
  input: z.object({
    image,
    path: imagePath,
    destination: z.string().min(1).max(limits.pathBytesMax).describe('absolute local path'),
    executable: z.boolean().default(false),
    overwrite: z.boolean().default(true),
  }),
  output: z.object({
    destination: hiddenFromClients(z.string()),
    size: hiddenFromClients(z.int().min(0)),
    sha256: hiddenFromClients(z.string()),
    overwritten: hiddenFromClients(z.boolean().optional()),
  }),
  handle: async (call, input) => {
    const local = requireLocalFiles(call, input.destination);
    const { overwritten, ...report } = await local.download(call.contree, input, transferOptions(call));
    return { ...report, ...(overwritten && { overwritten }) };
  },
  text: ({ destination, size, sha256, overwritten }, { path }) =>
    `${plainName(path)} -> ${destination} · ${grouped(size)} bytes · sha256 ${sha256}${overwritten ? ' · replaced a file' : ''}`,
});
