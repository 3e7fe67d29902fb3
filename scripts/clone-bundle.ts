import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, relative } from 'node:path';
import { bundleProgram } from './support/program.ts';

/**
 * Bundles the program of this clone to `.build`, so that its commands start as fast as those of the package; quick when
 * there is nothing to do. `bin/launch.js` runs the bundle only as long as none of the files that it was made of has
 * changed, and the sources otherwise.
 */
const ROOT = join(import.meta.dirname, '..');
const FOLDER = join(ROOT, '.build');
/** List of the files, which the launcher reads. */
const MANIFEST = join(FOLDER, 'current.json');
/** Files besides the sources that decide what the bundle contains; the hidden one is npm's record of what is installed. */
const RECIPE = ['package.json', 'package-lock.json', 'node_modules/.package-lock.json', 'scripts/support/program.ts'];
/** File times come from a clock that is a few milliseconds behind. */
const CLOCK_MS = 20;
/** Processes that run an older bundle may still load parts of it. */
const KEPT_MS = 24 * 60 * 60 * 1000;

const launcher = createRequire(import.meta.url)('../bin/fresh-bundle.js') as {
  freshBundle: (folder: string) => string | undefined;
};

if (launcher.freshBundle(ROOT) === undefined) {
  mkdirSync(FOLDER, { recursive: true });
  const startedMs = Date.now();
  const output = mkdtempSync(join(FOLDER, 'program-'));
  const { sources, packages } = await bundleProgram(ROOT, output);
  // Of a package only this file, which is another one when its version is: all their files would take longer to compare
  // than to load.
  const manifests = packages.map((folder) => join(folder, 'package.json'));
  const files = [...sources, ...manifests, ...RECIPE.map((path) => join(ROOT, path))].map((path) => {
    const { size, mtimeMs, ctimeMs } = statSync(path);
    // Nobody knows which content was bundled.
    if (ctimeMs > startedMs - CLOCK_MS) throw new Error(`${path} was changed while it was being bundled; start again`);
    return [relative(ROOT, path), size, mtimeMs, ctimeMs];
  });
  const manifest = join(output, 'current.json');
  writeFileSync(manifest, JSON.stringify({ main: relative(ROOT, join(output, 'app/main.js')), files }));
  renameSync(manifest, MANIFEST);
  for (const name of readdirSync(FOLDER)) {
    const path = join(FOLDER, name);
    if (statSync(path).mtimeMs < startedMs - KEPT_MS) rmSync(path, { recursive: true, force: true });
  }
}
