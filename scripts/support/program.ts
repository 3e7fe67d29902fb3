import { build, type Plugin } from 'esbuild';
import { globSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

/**
 * Entry points by their path in the output. The program of worker threads lies beside the chunks, because
 * `engine/workers/thread.ts`, which starts it from its own folder, becomes part of a chunk.
 */
const ENTRIES = {
  'app/main': 'src/app/main.ts',
  'client/sdk': 'src/client/sdk.ts',
  'chunks/worker': 'src/engine/workers/worker.ts',
};

/** CommonJS packages in the bundle call `require` for Node's own modules. */
const REQUIRE = "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);";

/** Half of zod are its messages in fifty languages, which would be read at every start and are never used. */
const ENGLISH: Plugin = {
  name: 'english',
  setup(bundler) {
    bundler.onLoad({ filter: pattern(String.raw`/zod/v4/locales/index\.js$`) }, () => ({
      contents: "export { default as en } from './en.js';",
    }));
  },
};

/** Returns a pattern for esbuild, which is written in Go and knows no flag "u". */
function pattern(source: string): RegExp {
  // oxlint-disable-next-line require-unicode-regexp
  return new RegExp(source, '');
}

/**
 * Bundles the program with its npm packages, lowered to the oldest Node of `package.json`: one file per part that is
 * loaded by itself, because a command spends more time on finding and reading hundreds of modules than on its work. The
 * code is not minified, so that stack traces can be read. Returns absolute paths: the source files and the folders of the
 * packages that it was made of.
 */
export async function bundleProgram(root: string, output: string): Promise<Origins> {
  const { metafile } = await build({
    absWorkingDir: root,
    entryPoints: ENTRIES,
    outdir: output,
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node22.21',
    chunkNames: 'chunks/[name]-[hash]',
    mainFields: ['module', 'main'],
    banner: { js: REQUIRE },
    // The licences of all packages are in one file of their own.
    legalComments: 'none',
    plugins: [ENGLISH],
    metafile: true,
    logLevel: 'warning',
  });
  const inputs = Object.keys(metafile.inputs).map((path) => resolve(root, path));
  const folders = inputs.flatMap((file) => /^.*\/node_modules\/(?:@[^/]+\/)?[^/]+/u.exec(file)?.[0] ?? []);
  const packages = [...new Set(folders)].toSorted();
  writeFileSync(join(output, 'LICENSES.txt'), packages.map(licence).join('\n'));
  return { sources: inputs.filter((file) => !file.includes('/node_modules/')), packages };
}

interface Origins {
  readonly sources: readonly string[];
  readonly packages: readonly string[];
}

/** Returns the licence of an npm package: it has to be passed on with the bundle. */
function licence(folder: string): string {
  const { name, version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as PackageFile;
  const title = `${name} ${version} (${license})`;
  const files = globSync('{LICENSE,LICENCE,license,NOTICE}*', { cwd: folder }).toSorted();
  const texts = files.map((path) => readFileSync(join(folder, path), 'utf8').trim());
  return [title, '='.repeat(title.length), '', ...texts, ''].join('\n');
}

interface PackageFile {
  readonly name: string;
  readonly version: string;
  readonly license: string;
}
