import { packExtension } from '@anthropic-ai/mcpb/cli';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { bundleManifest } from './support/package-metadata.ts';
import { packed, unpack } from './support/tarball.ts';

/**
 * `npm run bundle`: makes the MCPB bundle, which Claude Desktop installs by a double click. It is the published package
 * with a manifest. Without --tarball the package is packed first.
 */
const { values } = parseArgs({ options: { tarball: { type: 'string' }, output: { type: 'string' } } });
const folder = await mkdtemp(join(tmpdir(), 'contree-bundle-'));
try {
  const content = join(folder, 'content');
  await unpack(values.tarball ?? (await packed(folder)), content);
  await writeFile(join(content, 'manifest.json'), bundleManifest());
  // Not needed to run it.
  await writeFile(join(content, '.mcpbignore'), '*.d.ts\n');
  const output = resolve(values.output ?? 'contree-mcp.mcpb');
  const done = await packExtension({ extensionPath: content, outputPath: output, silent: true });
  if (!done) throw new Error('the bundle could not be made');
  console.log(output);
} finally {
  await rm(folder, { recursive: true, force: true });
}
