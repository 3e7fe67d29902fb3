import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { goldenTools, TOOLS_FOLDER } from '../test/support/golden.ts';
import { goldenSurfaces, SURFACES_FOLDER } from '../test/support/golden-surfaces.ts';

/**
 * Rewrites the golden files from the current code and prints which of them changed. Models and other programs rely on
 * their content, so review the difference before committing it.
 */
bless(TOOLS_FOLDER, goldenTools());
bless(SURFACES_FOLDER, await goldenSurfaces());

function bless(folder: string, wanted: ReadonlyMap<string, string>): void {
  mkdirSync(folder, { recursive: true });
  for (const name of readdirSync(folder)) {
    if (wanted.has(name)) continue;
    rmSync(join(folder, name));
    console.log(`removed ${name}`);
  }
  for (const [name, text] of wanted) {
    const path = join(folder, name);
    const before = existing(path);
    if (before === text) continue;
    writeFileSync(path, text);
    console.log(`${before === undefined ? 'added' : 'changed'} ${name}`);
  }
}

function existing(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
