import { createInterface } from 'node:readline';
import type { ProjectStore } from '../../../src/store/project-store.ts';
import { openLog } from '../../../src/http/log.ts';
import { EMPTY_IMAGE_CONFIG } from '../../../src/contract/image.ts';
import { imagePusher } from '../../../src/images/export/push.ts';
import { imageImporter } from '../../../src/images/import/importer.ts';
import { rootLayer } from '../../engine/bench.ts';
import { serveBench } from '../servers/served-engine.ts';

/**
 * The tests' served engine as a program, on the data directory of its argument or a new one. Prints its address to
 * standard output, and logs everything to standard error.
 */
const bring = async (_: unknown, { store }: { readonly store: ProjectStore }) => ({
  layers: [(await rootLayer(store, 'imported')).digest],
  config: EMPTY_IMAGE_CONFIG,
});
const importer = { fromRegistry: bring, fromArchive: imageImporter({ registries: {}, credentials: {} }).fromArchive };
await using served = await serveBench({
  importer,
  pusher: imagePusher({ registries: {}, credentials: {} }),
  log: openLog('debug', 2),
  ...(process.argv[2] !== undefined && { directory: process.argv[2] }),
});
const { token } = await served.client({ permissions: ['list', 'spawn', 'import', 'upload', 'cancel', 'admin'] });
const { address, socket, bench } = served;
const { directory, base } = bench;
process.stdout.write(`${JSON.stringify({ address, socket, token, directory, image: base.uuid })}\n`);
for await (const _ of createInterface({ input: process.stdin })) break;
