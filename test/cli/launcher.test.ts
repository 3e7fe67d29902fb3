import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { test } from 'node:test';

const ROOT = resolve(import.meta.dirname, '../..');
const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };

/** The launchers alone, as in a package without the `node` dependency; its main.js prints its arguments. */
function published() {
  const folder = mkdtempSync(join(tmpdir(), 'contree-launch-'));
  cpSync(join(ROOT, 'bin'), join(folder, 'bin'), { recursive: true });
  cpSync(join(ROOT, 'package.json'), join(folder, 'package.json'));
  return { folder, [Symbol.dispose]: () => rmSync(folder, { recursive: true }) };
}

/** Makes launch.js see a different version of Node. */
function pretend(folder: string, node: string): readonly string[] {
  const preload = join(folder, 'pretend.cjs');
  writeFileSync(preload, `Object.defineProperty(process.versions, 'node', { value: '${node}' });`);
  return ['--require', preload];
}

test('both commands answer from a clone', () => {
  for (const program of ['contree', 'contree-mcp']) {
    const { status, stdout } = spawnSync(process.execPath, [join(ROOT, 'bin', program), '--version'], {
      encoding: 'utf8',
    });
    assert.deepEqual([status, stdout], [0, `${version}\n`], program);
  }
});

test('an older Node hands over to the one that the package brings: arguments, streams and exit code', () => {
  using place = published();
  const old = pretend(place.folder, '18.20.0');
  const program = join(ROOT, 'bin/contree');
  // The bundled Node must be a different file from the running one, as on a machine with an old Node.
  const copy = join(place.folder, 'node');
  cpSync(process.execPath, copy);
  const told = spawnSync(copy, [...old, program, '--version'], { encoding: 'utf8' });
  assert.deepEqual([told.status, told.stdout], [0, `${version}\n`]);
  assert.equal(spawnSync(copy, [...old, program, '--nope'], { encoding: 'utf8' }).status, 2);
});

test('an older Node and none to hand over to: one line that says what is needed', () => {
  using place = published();
  const program = join(place.folder, 'bin/contree-mcp');
  for (const old of ['20.1.0', '22.20.1']) {
    const { status, stderr, stdout } = spawnSync(process.execPath, [...pretend(place.folder, old), program], {
      encoding: 'utf8',
    });
    assert.deepEqual([status, stdout], [1, '']);
    assert.match(stderr, /^contree-mcp needs Node 22\.21 or newer, this is v\d+.*npx .* contree-mcp contree-mcp\n$/u);
  }
  // A clone has a bundled Node once it is set up.
  mkdirSync(join(place.folder, 'src/app'), { recursive: true });
  writeFileSync(join(place.folder, 'src/app/main.ts'), '');
  const { stderr } = spawnSync(process.execPath, [...pretend(place.folder, '22.22.0'), program], { encoding: 'utf8' });
  assert.match(stderr, /^contree-mcp needs Node 24\.0 or newer, this is v\d+.*scripts\/setup.*\n$/u);
});

test(
  'the system’s own Node, however old, can read the launchers',
  { skip: !existsSync('/usr/bin/node') && 'there is no /usr/bin/node' },
  () => {
    const { status, stdout } = spawnSync('/usr/bin/node', [join(ROOT, 'bin/contree'), '--version'], {
      encoding: 'utf8',
    });
    assert.deepEqual([status, stdout], [0, `${version}\n`]);
  },
);

test('the published package runs its dist', () => {
  using place = published();
  const main = join(place.folder, 'dist');
  cpSync(join(ROOT, 'bin'), join(main, 'app'), { recursive: true });
  rmSync(join(main, 'app/package.json'));
  writeFileSync(
    join(main, 'app/main.js'),
    'export const main = (program) => console.log(program, ...process.argv.slice(2));',
  );
  const { stdout } = spawnSync(process.execPath, [join(place.folder, 'bin/contree'), 'a', 'b'], { encoding: 'utf8' });
  assert.equal(stdout, 'contree a b\n');
});

test('a reader that leaves early is not an error', async () => {
  const child = spawn(process.execPath, [join(ROOT, 'bin/contree'), '--help']);
  child.stdout.destroy();
  let stderr = '';
  child.stderr.on('data', (chunk) => (stderr += String(chunk)));
  const [code] = (await once(child, 'close')) as [number];
  assert.deepEqual([code, stderr], [0, '']);
});
