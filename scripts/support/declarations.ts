import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { command } from './command.ts';

const SPECIFIER = /(\bfrom\s+|\bimport\s*\(\s*|\bimport\s+)'(\.[^']+)\.ts'/gu;

/**
 * Writes the type declarations of a public module, and of everything that it refers to, to `dist/`. Other modules are
 * not public, so their declarations are not published.
 */
export async function publishDeclarations(root: string, entry: string): Promise<void> {
  const scratch = mkdtempSync(join(tmpdir(), 'contree-types-'));
  try {
    const options = ['--declaration', '--emitDeclarationOnly', '--outDir', scratch];
    await command('tsc', ['-p', 'tsconfig.build.json', ...options], { cwd: root });
    const pending = [join(scratch, entry)];
    const seen = new Set<string>();
    for (const path of pending) {
      if (seen.has(path)) continue;
      seen.add(path);
      const text = readFileSync(path, 'utf8');
      for (const [, , name = ''] of text.matchAll(SPECIFIER)) pending.push(join(dirname(path), `${name}.d.ts`));
      const target = join(root, 'dist', relative(scratch, path));
      mkdirSync(dirname(target), { recursive: true });
      writeFileSync(target, text.replaceAll(SPECIFIER, "$1'$2.js'"));
    }
  } finally {
    rmSync(scratch, { recursive: true });
  }
}
