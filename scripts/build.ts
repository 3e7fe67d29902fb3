import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { command } from './support/command.ts';
import { publishDeclarations } from './support/declarations.ts';
import { bundleProgram } from './support/program.ts';

/**
 * `npm run build`: makes what is published and not in the repository. `dist/` gets the bundled program, and the types of
 * the SDK. The guest must have been built, as scripts/setup does.
 */
const ROOT = join(import.meta.dirname, '..');

for (const file of ['manifest.json', 'vmlinux', 'initramfs.cpio']) {
  if (!existsSync(join(ROOT, 'guest/dist', file))) throw new Error(`guest/dist/${file} is missing: run scripts/setup`);
}
await import('./support/console-vendor.ts');
// Users of the package have no say in what was installed here.
process.stdout.write(await command(process.execPath, [join(ROOT, 'scripts/runsc.ts'), '--own']));
// Otherwise a file whose source was removed would stay published.
rmSync(join(ROOT, 'dist'), { recursive: true, force: true });
await bundleProgram(ROOT, join(ROOT, 'dist'));
await publishDeclarations(ROOT, 'client/sdk.d.ts');
