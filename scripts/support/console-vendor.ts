import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * Copies the terminal library from its packages to `console/vendor`, where the console's server finds it. The console has no
 * build: browsers run its modules as they are, so this is a copy under names that it serves.
 */
const ROOT = join(import.meta.dirname, '../..');
const FOLDER = join(ROOT, 'console/vendor');

/** Files by their names in the console. */
const FILES: Readonly<Record<string, string>> = {
  'xterm.js': '@xterm/xterm/lib/xterm.mjs',
  'xterm.css': '@xterm/xterm/css/xterm.css',
  'xterm-LICENSE.txt': '@xterm/xterm/LICENSE',
  'xterm-fit.js': '@xterm/addon-fit/lib/addon-fit.mjs',
  'xterm-fit-LICENSE.txt': '@xterm/addon-fit/LICENSE',
};

mkdirSync(FOLDER, { recursive: true });
for (const [name, path] of Object.entries(FILES)) {
  const [source, target] = [join(ROOT, 'node_modules', path), join(FOLDER, name)];
  if (!name.endsWith('.js')) copyFileSync(source, target);
  else {
    // The name of a source map that is not copied.
    const code = readFileSync(source, 'utf8').replace(/^\/\/# sourceMappingURL=.*$/mu, '');
    if (!existsSync(target) || readFileSync(target, 'utf8') !== code) writeFileSync(target, code);
  }
}
