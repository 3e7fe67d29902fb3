import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { command } from '../../../scripts/support/command.ts';
import type { ExportRequest } from '../../../src/images/export/oci-layout.ts';
import { importImage, type ImportedImage } from '../../../src/images/import/import-image.ts';
import { openReference } from '../../registry/support.ts';
import type { Scratch } from '../../support/layers.ts';
import { rawLayer, tarLayer, type TestStore } from '../import/support.ts';

/** Runs `command` for at most two minutes. */
export const runTool = (program: string, ...args: string[]): Promise<string> =>
  command(program, args, { timeout: 120_000 });

/** Entries that the layer of rare entries expects below it. */
export const BASE = tarLayer([
  ...['usr/', 'usr/bin/', 'usr/lib/', 'usr/share/', 'usr/share/doc/', 'usr/share/doc/pkg/', 'usr/games/', 'etc/'].map(
    (path) => ({ path, flag: '5', mode: 0o755, mtime: 1_500_000_000 }),
  ),
  { path: 'bin', flag: '2', linkname: 'usr/bin' },
  { path: 'usr/lib/os-release', content: 'ID=test\n' },
  { path: 'usr/share/doc/pkg/copyright', content: 'hidden' },
  { path: 'usr/games/rogue', content: 'hidden' },
  { path: 'etc/debian_version', content: 'hidden' },
  { path: 'etc/issue', content: 'replaced' },
  { path: 'etc/skel/', flag: '5', mode: 0o755 },
  { path: 'etc/skel/.profile', content: 'hidden' },
]);

/** All rare kinds of entries. */
export async function oddLayer(scratch: Scratch) {
  const path = join(scratch.folder, 'odd.tar');
  await runTool('python3', join(import.meta.dirname, '../../support/python/odd_layer.py'), path);
  return rawLayer(await readFile(path));
}

/** Imports an image from a registry. */
export async function pull({ store }: TestStore, reference: string): Promise<ImportedImage> {
  await using opened = await openReference(reference);
  return await importImage(store, opened.image, () => undefined, AbortSignal.timeout(60_000));
}

/** Returns the imported image as input for an export. */
export async function requestFor({ store }: TestStore, image: ImportedImage): Promise<ExportRequest> {
  return {
    uuid: '11111111-2222-4333-8444-555555555555',
    layers: await store.layers.files(image.layers),
    config: image.config,
  };
}
