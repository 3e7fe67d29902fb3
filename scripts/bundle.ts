import { packExtension } from '@anthropic-ai/mcpb/cli';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { command } from './support/command.ts';
import { bundleManifest } from './support/package-metadata.ts';

/**
 * `npm run bundle`: makes the MCPB bundle, which Claude Desktop installs by a double click. It is the published package
 * with a manifest. Without --tarball the package is packed first.
 */
const { values } = parseArgs({ options: { tarball: { type: 'string' }, output: { type: 'string' } } });
const folder = await mkdtemp(join(tmpdir(), 'contree-bundle-'));
try {
  const content = join(folder, 'content');
  await mkdir(content);
  const tarball = values.tarball ?? join(folder, await packed(folder));
  await command('tar', ['-xzf', resolve(tarball), '-C', content, '--strip-components=1']);
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

async function packed(destination: string): Promise<string> {
  const printed = await command('npm', ['pack', '--silent', '--pack-destination', destination]);
  return printed.trim().split('\n').at(-1) ?? '';
}
